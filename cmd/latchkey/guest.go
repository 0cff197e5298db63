package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/pflag"
	"golang.org/x/term"

	"latchkey/cmd/latchkey/internal/terminal"
	"latchkey/guestclient"
)

const guestUsage = `Usage: latchkey guest LINK [options]

Chats as the guest whom the invitation link names. Each line you enter is a message; /help lists
the commands. LINK can be @PATH, a file that holds the link, so that other users of the
machine don't see the password among the processes. Reads lines from a pipe, too: it then ends once all is
sent, with exit code 1 if something was not.`

func runGuest(ctx context.Context, args []string) error {
	flags := pflag.NewFlagSet("guest", pflag.ContinueOnError)
	asJSON := flags.Bool("json", false, "print one JSON object a line, for programs")
	wait := flags.Duration("wait", 0, "after the end of the input: how long to stay for answers, for example 30s")
	if err := parse(flags, guestUsage, args); err != nil {
		return err
	}
	if flags.NArg() != 1 {
		return usagef("give the one link of the invitation; for example latchkey guest 'https://chat.example.com/rcsgw/invitee/session/sip:b@cc.com?passwd=…'")
	}
	link, err := readLink(flags.Arg(0))
	if err != nil {
		return usageError{err}
	}
	client, err := guestclient.Open(link, guestclient.Options{})
	if err != nil {
		return usageError{err}
	}
	defer client.Close()

	opt := terminal.Options{In: os.Stdin, Out: os.Stdout, JSON: *asJSON, Wait: *wait}
	if !*asJSON && term.IsTerminal(int(os.Stdin.Fd())) && term.IsTerminal(int(os.Stdout.Fd())) {
		screen, err := terminal.OpenScreen(os.Stdin, os.Stdout)
		if err != nil {
			return err
		}
		defer screen.Close()
		opt.Screen = screen
	}
	return terminal.Run(ctx, client, opt)
}

// readLink takes the link itself or the first line of the file that @PATH names.
func readLink(arg string) (string, error) {
	path, ok := strings.CutPrefix(arg, "@")
	if !ok {
		return arg, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("the file of the link: %w", err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	if !lines.Scan() {
		return "", errors.New("the file of the link is empty")
	}
	return lines.Text(), nil
}
