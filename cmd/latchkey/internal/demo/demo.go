// Package demo is a whole small world on one machine: a SIP core, the RCS phones of a dozen people who behave in
// every way that people and phones do, a mail server, centres for SMS and MMS, and a gateway in the middle, in one
// process. Nothing of the gateway is replaced or shortened; its peers are package imstest's.
package demo

import (
	"cmp"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/crypto/bcrypt"
	"golang.org/x/sync/errgroup"

	"latchkey/gateway"
	"latchkey/imstest"
)

//go:embed static
var static embed.FS

// Options of a World.
type Options struct {
	HTTPListen string        // the gateway's address for guests; "": 127.0.0.1:8080, or a free port where that is taken
	Listen     string        // of the demo's own pages; "": 127.0.0.1:8082, or a free port
	Slow       time.Duration // how long Sloan takes to answer; default 5 s
	Log        *slog.Logger
}

// The demo's domains, and Alice, whose phone is operated in the browser. All people have the same password.
const (
	aliceURI    = "sip:alice@cc.com"
	password    = "demo"
	userDomain  = "cc.com"
	guestDomain = "guest.example"
	guestMail   = "b@cc.com" // whom the start page lets people invite
)

// World is a running demo.
type World struct {
	core      *imstest.Core
	alice     *phone
	people    []*person
	mail      *imstest.MailSink
	smsc      *imstest.SMSC
	mmsc      *imstest.MMSC
	gateway   *gateway.Gateway
	pages     *http.Server
	url       string       // of the demo's own pages
	beside    *http.Server // the guest's page, for a frame
	besideURL string
	dir       string
	slow      time.Duration
	ended     chan error // the gateway's Run

	acting context.Context // ends with Close: what people do of their own accord
	rest   context.CancelFunc
	mu     sync.Mutex // guards closed
	closed bool       // nobody begins anything any more
	acts   sync.WaitGroup
}

// Start builds the world and returns when all of it is ready.
func Start(ctx context.Context, opt Options) (w *World, err error) {
	w = &World{ended: make(chan error, 1), slow: cmp.Or(opt.Slow, slowness)}
	w.people = newPeople(w.slow)
	w.acting, w.rest = context.WithCancel(context.Background())
	defer func() {
		if err != nil {
			w.Close()
		}
	}()
	if w.dir, err = os.MkdirTemp("", "latchkey-demo-"); err != nil {
		return w, err
	}
	accounts := map[string]imstest.Account{aliceURI: {}}
	for _, p := range w.people {
		accounts[p.uri] = imstest.Account{}
	}
	if w.core, err = imstest.NewCore(imstest.CoreOptions{Domains: []string{userDomain, guestDomain}, Open: true, Users: accounts}); err != nil {
		return w, err
	}
	if w.mail, err = imstest.NewMailSink(""); err != nil {
		return w, err
	}
	if w.smsc, err = imstest.NewSMSC("127.0.0.1:0"); err != nil {
		return w, err
	}
	w.smsc.Behave(imstest.SMSCManner{Receipt: "DELIVRD"})
	if w.mmsc, err = imstest.NewMMSC(); err != nil {
		return w, err
	}
	for range 5 { // somebody may take a port between its choice and its use
		if err = w.startGateway(opt); !errors.Is(err, syscall.EADDRINUSE) {
			break
		}
	}
	if err != nil {
		return w, err
	}
	if err = w.startBeside(); err != nil {
		return w, err
	}
	ln, err := net.Listen("tcp", freeOr(opt.Listen, "127.0.0.1:8082"))
	if err != nil {
		return w, err
	}
	w.url = "http://" + ln.Addr().String()
	if err = w.startPhones(ctx); err != nil {
		_ = ln.Close()
		return w, err
	}
	w.startPages(ln)
	return w, nil
}

func (w *World) startGateway(opt Options) error {
	users, err := w.usersFile()
	if err != nil {
		return err
	}
	path := filepath.Join(w.dir, "users.yaml")
	if err := os.WriteFile(path, users, 0o600); err != nil {
		return err
	}
	sip, err := freeBoth()
	if err != nil {
		return err
	}
	config, err := gateway.Load([]string{
		"--data=" + filepath.Join(w.dir, "latchkey.db"), "--http-listen=" + freeOr(opt.HTTPListen, "127.0.0.1:8080"), "--admin-listen=127.0.0.1:0",
		"--domain=" + guestDomain, "--sip-listen=udp:" + sip + ",tcp:" + sip, "--sip-core=" + w.core.URI(), "--msrp-listen=tcp:127.0.0.1:0",
		"--directory=file:" + path, "--mail=smtp://" + w.mail.Addr(), "--mail-from=invitations@latchkey.example", "--sip-register-expires=3600s",
		"--sms=smpp://demo:demo@" + w.smsc.Addr() + "?from=Latchkey", "--file-peers=127.0.0.0/8", "--mms=mm7+http://demo:demo@" + w.mmsc.Addr() + "/mm7?vasp=latchkey&vas=invitations",
	}, func(string) string { return "" })
	if err != nil {
		return err
	}
	g, err := gateway.New(config, opt.Log)
	if err != nil {
		return err
	}
	w.gateway = g
	go func() { w.ended <- w.gateway.Run(context.Background()) }() // ends with Shutdown
	return nil
}

// usersFile is the directory of the registered users. One hash serves all, and a cheap one, so that the demo starts at once: the password
// is no secret.
func (w *World) usersFile() ([]byte, error) {
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		return nil, err
	}
	out := "users:\n"
	for i, u := range append([]*person{{uri: aliceURI, Name: "Alice"}}, w.people...) {
		out += fmt.Sprintf("  - {uri: %q, uid: \"%d\", name: %q, password: %q, level: 1, state: active}\n", u.uri, 10001+i, u.Name, hash)
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

// freeBoth is an address on which neither UDP nor TCP is taken. What is too long for UDP goes by TCP to the same port (RFC 3261 §18.1.1), which must not be
// somebody else's.
func freeBoth() (addr string, err error) {
	for range 20 {
		tcp, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return "", err
		}
		udp, err := net.ListenPacket("udp", tcp.Addr().String())
		_ = tcp.Close()
		if err == nil {
			return tcp.Addr().String(), udp.Close()
		}
	}
	return "", errors.New("no port is free for both UDP and TCP")
}

// startPhones registers all phones at once.
func (w *World) startPhones(ctx context.Context) error {
	alice, err := imstest.NewPhone(imstest.PhoneOptions{URI: aliceURI, Core: w.core.Addr(), Manner: imstest.Manner{Tags: imstest.FileTags}})
	if err != nil {
		return fmt.Errorf("alice's phone: %w", err)
	}
	w.alice = newPhonePage(alice, w.gateway.URL())
	var all errgroup.Group
	all.Go(func() error { return alice.Register(ctx) })
	for _, p := range w.people {
		all.Go(func() error {
			if err := p.start(ctx, w); err != nil {
				return fmt.Errorf("%s's phone: %w", p.Key, err)
			}
			return nil
		})
	}
	return all.Wait()
}

var door = template.Must(template.ParseFS(static, "static/index.html", "static/beside.html"))

func (w *World) startPages(ln net.Listener) {
	mux := http.NewServeMux()
	mux.Handle("GET /static/", http.FileServerFS(static))
	for path, file := range map[string]string{"/phone": "phone.html", "/mail": "mail.html"} {
		mux.HandleFunc("GET "+path, func(rw http.ResponseWriter, r *http.Request) { http.ServeFileFS(rw, r, static, "static/"+file) })
	}
	for path, file := range map[string]string{"/{$}": "index.html", "/beside": "beside.html"} {
		mux.HandleFunc("GET "+path, func(rw http.ResponseWriter, _ *http.Request) {
			_ = door.ExecuteTemplate(rw, file, map[string]any{"People": w.people, "Mail": guestMail, "Gateway": w.gateway.URL(), "Beside": w.besideURL})
		})
	}
	mux.HandleFunc("GET /mail/list", w.listMails)
	// What invitations say is shown to operators, by the gateway itself.
	mux.Handle("GET /templates", http.RedirectHandler("http://"+w.gateway.Addrs().Admin+"/templates", http.StatusFound))
	mux.HandleFunc("GET "+notesPath, serveNotes)
	mux.HandleFunc("GET /doors", func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(rw).Encode(map[string]string{"gateway": w.gateway.URL(), "beside": w.besideURL})
	})
	mux.HandleFunc("POST /people/invite", func(rw http.ResponseWriter, r *http.Request) {
		serveOrder(rw, r, func(ctx context.Context, o order) (any, error) { return w.invites(ctx, o.Person, guestMail) })
	})
	w.alice.routes(mux)
	w.pages = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = w.pages.Serve(ln) }() // ends with Close
}

// Links are where to click: Alice's phone, the mailbox, the guest's page.
func (w *World) Links() (phone, mailbox, guest string) {
	return w.url + "/phone", w.url + "/mail", w.gateway.URL() + "/rcsgw/invitee/session/sip:b_at_cc.com@" + guestDomain
}

// Invite lets somebody of the start page invite, as their client would.
func (w *World) Invite(ctx context.Context, key, email string) error {
	_, err := w.invites(ctx, key, email)
	return err
}

func (w *World) invites(ctx context.Context, key, email string) (map[string]any, error) {
	p := w.person(key)
	if p == nil {
		return nil, fmt.Errorf("nobody here is called %q", key)
	}
	return invite(ctx, w.gateway.URL(), p.uri, invitation{Email: email})
}

// person finds somebody of the start page.
func (w *World) person(key string) *person {
	for _, p := range w.people {
		if p.Key == key {
			return p
		}
	}
	return nil
}

// Close ends all of it. It may be called on a world that did not come up.
func (w *World) Close() {
	w.rest()
	for _, s := range []*http.Server{w.pages, w.beside} {
		if s != nil {
			_ = s.Close()
		}
	}
	if w.gateway != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = w.gateway.Shutdown(ctx)
	}
	if w.alice != nil {
		w.alice.phone.Close()
	}
	for _, p := range w.people {
		p.close()
	}
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.acts.Wait()
	if w.mail != nil {
		w.mail.Close()
	}
	if w.smsc != nil {
		w.smsc.Close()
	}
	if w.mmsc != nil {
		w.mmsc.Close()
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
	if err := w.Invite(ctx, "robin", guestMail); err != nil {
		return fmt.Errorf("robin's invitation: %w", err)
	}
	phone, mailbox, guest := w.Links()
	fmt.Fprintf(out, `Latchkey's demo is ready. Open these in tabs of their own:

  1. Alice's phone   %s
     Type an e-mail address or a telephone number and press Invite.
  2. The mailbox     %s
     Click the link in the invitation. One from Robin to b@cc.com is there already; he answers by himself.
  3. The guest       %s
     This page opens from the link in the mail. Press Open chat, write, and watch Alice's phone.

Or all in one window: %s/beside
People who are busy, slow, offline and worse are at %[4]s/
What invitations say, in each language, is at %[4]s/templates

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
