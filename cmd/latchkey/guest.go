package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/pflag"
	"golang.org/x/term"

	"latchkey/cmd/latchkey/internal/terminal"
	"latchkey/guestclient"
)

const guestUsage = `Usage: latchkey guest LINK [options]

Chats as the guest whom the invitation link names. Each line you enter is a message; /help lists
the commands, among them /send and /save for files.

LINK is the link of the invitation, in any of its forms (?passwd=, #passwd=, latchkey:…), or @PATH, a
file that holds it, so that other users of the machine don't see the password among the
processes, or a file NAME.latchkey that the page of the invitation has saved. Where it has no
password, you are asked for it; the whole link is as good as an answer.

--register has your desktop open latchkey: links and .latchkey files with this program,
--unregister takes that back.

In a pipe each line of the input is a message, too. It ends once all is sent. With --json each line in
and out is an object; docs/howto/guest-client.md lists them.

Exit codes: 0 all is sent, 1 something is not or the gateway refuses, 2 wrong usage.
NO_COLOR turns colours off; on a TERM=dumb nothing is painted.`

func runGuest(ctx context.Context, args []string) error {
	flags := pflag.NewFlagSet("guest", pflag.ContinueOnError)
	asJSON := flags.Bool("json", false, "read and print one JSON object a line, for programs")
	wait := flags.Duration("wait", 0, "after the end of the input: how long to stay for answers, for example 30s")
	events := flags.String("events", "", "how events are followed: sse, poll or websocket (default: sse, and poll where a proxy keeps it back)")
	register := flags.Bool("register", false, "have this desktop open latchkey: links and .latchkey files with this program")
	unregister := flags.Bool("unregister", false, "take that back")
	if err := parse(flags, guestUsage, args); err != nil {
		return err
	}
	if *register || *unregister {
		if flags.NArg() > 0 || *register && *unregister {
			return usagef("--register and --unregister stand alone; for example latchkey guest --register")
		}
		return registerGuest(ctx, os.Stdout, *register)
	}
	if flags.NArg() != 1 {
		return usagef("give the one link of the invitation; for example latchkey guest 'https://chat.example.com/rcsgw/invitee/session/sip:b@cc.com?passwd=…'")
	}
	way := guestclient.Transport(*events)
	switch way {
	case guestclient.Auto, guestclient.SSE, guestclient.Poll, guestclient.WebSocket:
	default:
		return usagef("--events: %q is none of sse, poll and websocket; for example --events poll", *events)
	}
	link, err := readLink(flags.Arg(0))
	if err == nil {
		link.Password, err = passwordOf(link)
	}
	if err != nil {
		return usageError{err}
	}
	connection := terminal.NewConnection()
	client := guestclient.New(link.Base, link.Account, link.Password, guestclient.Options{Transport: way, Connection: connection.Changed})
	defer client.Close()

	opt := terminal.Options{In: os.Stdin, Out: os.Stdout, JSON: *asJSON, Wait: *wait}
	capable, colours := terminal.Capable(os.Getenv)
	if !*asJSON && capable && term.IsTerminal(int(os.Stdin.Fd())) && term.IsTerminal(int(os.Stdout.Fd())) {
		screen, err := terminal.OpenScreen(os.Stdin, os.Stdout, colours)
		if err != nil {
			return err
		}
		defer screen.Close()
		opt.Screen = screen
	}
	return terminal.Run(ctx, client, connection, opt)
}

// readLink takes the link itself, the first line of the file that @PATH names, or a file that a page has saved for us, which a desktop may name
// by a file: URL.
func readLink(arg string) (guestclient.Link, error) {
	if u, err := url.Parse(arg); err == nil && u.Scheme == "file" {
		arg = u.Path
	}
	if strings.HasSuffix(strings.ToLower(arg), ".latchkey") && !strings.Contains(arg, "/rcsgw/") {
		f, err := os.Open(arg)
		if err != nil {
			return guestclient.Link{}, fmt.Errorf("the file of the chat: %w", err)
		}
		defer f.Close()
		return guestclient.ReadFile(f)
	}
	path, ok := strings.CutPrefix(arg, "@")
	if !ok {
		return guestclient.ParseLink(arg)
	}
	f, err := os.Open(path)
	if err != nil {
		return guestclient.Link{}, fmt.Errorf("the file of the link: %w", err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	if !lines.Scan() {
		return guestclient.Link{}, errors.New("the file of the link is empty")
	}
	return guestclient.ParseLink(lines.Text())
}

// passwordOf is the link's password, or what a person at a terminal says.
func passwordOf(link guestclient.Link) (string, error) {
	in := int(os.Stdin.Fd())
	if link.Password != "" || !term.IsTerminal(in) {
		if link.Password == "" {
			return "", guestclient.ErrNoPassword
		}
		return link.Password, nil
	}
	state, err := term.MakeRaw(in) // before the question, so that an answer that comes at once isn't seen either
	if err != nil {
		return "", err
	}
	password, err := term.NewTerminal(console{}, "").ReadPassword("Password of the invitation for " + terminal.Clean(link.Account) + ": ")
	_ = term.Restore(in, state)
	if errors.Is(err, io.EOF) || err == nil && password == "" { // EOF: Ctrl-C or Ctrl-D
		err = guestclient.ErrNoPassword
	}
	// People have the password as a part of their link.
	if whole, bad := guestclient.ParseLink(password); bad == nil && whole.Password != "" {
		return whole.Password, err
	}
	return strings.TrimSpace(password), err
}

// console is the terminal that questions are asked on. It gives one octet at a time: what is typed behind the answer is for the chat.
type console struct{}

func (console) Read(p []byte) (int, error)  { return os.Stdin.Read(p[:min(len(p), 1)]) }
func (console) Write(p []byte) (int, error) { return os.Stderr.Write(p) }
