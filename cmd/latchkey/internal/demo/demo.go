// Package demo is a whole small world on one machine: a SIP core, two RCS phones, a mail server,
// and a gateway in the middle, in one process. Nothing of the gateway is replaced or shortened; its peers
// are package imstest's.
package demo

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"latchkey/directory"
	"latchkey/gateway"
	"latchkey/imstest"
)

//go:embed static
var static embed.FS

// Options of a World.
type Options struct {
	HTTPListen string // the gateway's address for guests; "": 127.0.0.1:8080, or a free port where that is taken
	Listen     string // of the demo's own pages; "": 127.0.0.1:8082, or a free port
	Log        *slog.Logger
}

// The demo's people.
const (
	aliceURI      = "sip:alice@cc.com"
	robinURI      = "sip:robin@cc.com"
	alicePassword = "demo-alice"
	robinPassword = "demo-robin"
	userDomain    = "cc.com"
	guestDomain   = "guest.example"
)

// World is a running demo.
type World struct {
	core    *imstest.Core
	alice   *phone
	robin   *imstest.Phone
	mail    *imstest.MailSink
	gateway *gateway.Gateway
	pages   *http.Server
	url     string // of the demo's own pages
	dir     string
	ended   chan error // the gateway's Run
}

// Start builds the world and returns when all of it is ready.
func Start(ctx context.Context, opt Options) (w *World, err error) {
	w = &World{ended: make(chan error, 1)}
	defer func() {
		if err != nil {
			w.Close()
		}
	}()
	if w.dir, err = os.MkdirTemp("", "latchkey-demo-"); err != nil {
		return w, err
	}
	if w.core, err = imstest.NewCore(imstest.CoreOptions{
		Domains: []string{userDomain, guestDomain}, Open: true, Users: map[string]imstest.Account{aliceURI: {}, robinURI: {}},
	}); err != nil {
		return w, err
	}
	if w.mail, err = imstest.NewMailSink(""); err != nil {
		return w, err
	}
	if err = w.startGateway(opt); err != nil {
		return w, err
	}
	if err = w.startPhones(ctx); err != nil {
		return w, err
	}
	return w, w.startPages(opt)
}

func (w *World) startGateway(opt Options) error {
	users, err := usersFile()
	if err != nil {
		return err
	}
	path := filepath.Join(w.dir, "users.yaml")
	if err := os.WriteFile(path, users, 0o600); err != nil {
		return err
	}
	config, err := gateway.Load([]string{
		"--data=" + filepath.Join(w.dir, "latchkey.db"), "--http-listen=" + freeOr(opt.HTTPListen, "127.0.0.1:8080"), "--admin-listen=127.0.0.1:0",
		"--domain=" + guestDomain, "--sip-listen=udp:127.0.0.1:0,tcp:127.0.0.1:0", "--sip-core=" + w.core.URI(), "--msrp-listen=tcp:127.0.0.1:0",
		"--directory=file:" + path, "--mail=smtp://" + w.mail.Addr(), "--mail-from=invitations@latchkey.example", "--sip-register-expires=3600s",
	}, func(string) string { return "" })
	if err != nil {
		return err
	}
	if w.gateway, err = gateway.New(config, opt.Log); err != nil {
		return err
	}
	go func() { w.ended <- w.gateway.Run(context.Background()) }() // ends with Shutdown
	return nil
}

// usersFile is the directory of the two registered users.
func usersFile() ([]byte, error) {
	out := "users:\n"
	for i, u := range []struct{ uri, name, password string }{{aliceURI, "Alice", alicePassword}, {robinURI, "Robin", robinPassword}} {
		hash, err := directory.HashPassword(u.password)
		if err != nil {
			return nil, err
		}
		out += fmt.Sprintf("  - {uri: %q, uid: \"%d\", name: %q, password: %q, level: 1, state: active}\n", u.uri, 10001+i, u.name, hash)
	}
	return []byte(out), nil
}

// freeOr is listen where somebody asked for it, else the usual address if it is free, else any.
func freeOr(listen, usual string) string {
	if listen != "" {
		return listen
	}
	ln, err := net.Listen("tcp", usual)
	if err != nil {
		return "127.0.0.1:0"
	}
	_ = ln.Close()
	return usual
}

func (w *World) startPhones(ctx context.Context) error {
	newPhone := func(uri string) (*imstest.Phone, error) {
		p, err := imstest.NewPhone(imstest.PhoneOptions{URI: uri, Core: w.core.Addr(), Manner: imstest.Manner{Tags: imstest.ChatTags}})
		if err != nil {
			return nil, err
		}
		return p, p.Register(ctx)
	}
	alice, err := newPhone(aliceURI)
	if alice != nil {
		w.alice = newPhonePage(alice, w.gateway.URL())
	}
	if err != nil {
		return fmt.Errorf("alice's phone: %w", err)
	}
	if w.robin, err = newPhone(robinURI); err != nil {
		return fmt.Errorf("robin's phone: %w", err)
	}
	answerByItself(w.robin)
	return nil
}

func (w *World) startPages(opt Options) error {
	ln, err := net.Listen("tcp", freeOr(opt.Listen, "127.0.0.1:8082"))
	if err != nil {
		return err
	}
	w.url = "http://" + ln.Addr().String()
	mux := http.NewServeMux()
	mux.Handle("GET /static/", http.FileServerFS(static))
	for path, file := range map[string]string{"/{$}": "index.html", "/phone": "phone.html", "/mail": "mail.html"} {
		mux.HandleFunc("GET "+path, func(rw http.ResponseWriter, r *http.Request) { http.ServeFileFS(rw, r, static, "static/"+file) })
	}
	mux.HandleFunc("GET /mail/list", w.listMails)
	// What invitations say is shown to operators, by the gateway itself.
	mux.Handle("GET /templates", http.RedirectHandler("http://"+w.gateway.Addrs().Admin+"/templates", http.StatusFound))
	w.alice.routes(mux)
	w.pages = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = w.pages.Serve(ln) }() // ends with Close
	return nil
}

// Links are where to click: Alice's phone, the mailbox, the guest's page.
func (w *World) Links() (phone, mailbox, guest string) {
	return w.url + "/phone", w.url + "/mail", w.gateway.URL() + "/rcsgw/invitee/session/sip:b_at_cc.com@" + guestDomain
}

// Invite lets Robin, who answers by himself, invite somebody, as his client would.
func (w *World) Invite(ctx context.Context, email string) error {
	_, err := invite(ctx, w.gateway.URL(), robinURI, robinPassword, email)
	return err
}

// Close ends all of it. It may be called on a world that did not come up.
func (w *World) Close() {
	if w.pages != nil {
		_ = w.pages.Close()
	}
	if w.gateway != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = w.gateway.Shutdown(ctx)
	}
	if w.alice != nil {
		w.alice.phone.Close()
	}
	if w.robin != nil {
		w.robin.Close()
	}
	if w.mail != nil {
		w.mail.Close()
	}
	if w.core != nil {
		w.core.Close()
	}
	if w.dir != "" {
		_ = os.RemoveAll(w.dir)
	}
}

// Run starts a world, says what to click, and ends it when ctx ends.
func Run(ctx context.Context, out io.Writer, opt Options) error {
	w, err := Start(ctx, opt)
	if err != nil {
		return err
	}
	defer w.Close()
	if err := w.Invite(ctx, "b@cc.com"); err != nil {
		return fmt.Errorf("robin's invitation: %w", err)
	}
	phone, mailbox, guest := w.Links()
	fmt.Fprintf(out, `Latchkey's demo is ready. Open these in tabs of their own:

  1. Alice's phone   %s
     Type an e-mail address and press Invite.
  2. The mailbox     %s
     Click the link in the invitation. One from Robin to b@cc.com is there already; he answers by himself.
  3. The guest       %s
     This page opens from the link in the mail. Press Open chat, write, and watch Alice's phone.

%s/templates shows what invitations say, in each language.
Ctrl-C stops everything and leaves nothing behind.
`, phone, mailbox, guest, w.url)
	select {
	case <-ctx.Done():
		fmt.Fprintln(out, "\nStopping.")
		return nil
	case err := <-w.ended:
		return errors.Join(errors.New("the gateway stopped"), err)
	}
}
