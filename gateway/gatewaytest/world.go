// Package gatewaytest puts a gateway into a small world: a core, an interaction server, a mail server and
// phones, whose wire code (package imstest) is not the gateway's. Tests and benchmarks use it; the product doesn't.
//
// The gateway runs in the test's own process, or as a process of its own where Plan.Command says how. What
// the peers see against the specifications fails the test at its end. Start with New.
package gatewaytest

import (
	"context"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"latchkey/imstest"
	"latchkey/storage/storagetest"
)

// The people of these worlds. All inviters have the same password.
const (
	Alice     = "sip:a@cc.com"
	Carol     = "sip:c@cc.com"
	Stranger  = "sip:x@cc.com"
	AliceTel  = "tel:+8613800000001"
	GuestMail = "b@cc.com"
	GuestURI  = "sip:b_at_cc.com@guest.example" // of GuestMail under the scheme mapped
	Password  = "correct horse"
)

// Patience is how long anything may take that happens at once on a quiet machine.
const Patience = 60 * time.Second

// Plan is what a test wants to be different.
type Plan struct {
	Core func(*imstest.CoreOptions)
	IM   func(*imstest.CoreOptions) // the interaction server
	Args []string                   // options of the gateway
	SIP  string                     // host:port for SIP, made by FreePort; "": any
	AS   bool                       // the core sends to the gateway what is for people whom it does not know
	// Plain makes it the world of a plain IM system in mode pager: Core is its one server, and IM stands idle.
	Plain bool
	// Command gives the program and its first arguments, such as the path of latchkey and serve. Without it the gateway
	// runs in this process.
	Command []string
	Env     []string // of the command, beside the test's own
	// Sheds lets the gateway refuse what it has no time for. Otherwise it serves all, unless it is a Command: where the machine is
	// busy with other tests, that is no news.
	Sheds bool
}

// World is a gateway and everything around it.
type World struct {
	Core  *imstest.Core
	IM    *imstest.Core // registers accounts as the interaction server of messages
	Mail  *imstest.MailSink
	Data  string // the gateway's database
	Users string // the gateway's directory file
	Log   *imstest.Log
	SIP   string // host:port of the gateway's SIP listeners, UDP and TCP

	t       testing.TB
	args    []string
	command []string
	env     []string
	sheds   bool
	running *running
}

// New starts a world. It ends with the test.
func New(t testing.TB, p Plan) *World {
	t.Helper()
	opt := imstest.CoreOptions{Domains: []string{"cc.com", "guest.example"}, Open: true, Users: map[string]imstest.Account{
		Alice: {Password: Password}, Carol: {Password: Password}, Stranger: {Password: Password}, "sip:d@cc.com": {Password: Password},
	}}
	im := imstest.CoreOptions{Domains: opt.Domains, Open: true}
	sip := p.SIP // the same after a restart, or the core would send to where nobody is
	if sip == "" {
		sip = imstest.FreePort(t)
	}
	if p.AS {
		opt.Unregistered = sip
	}
	if p.Core != nil {
		p.Core(&opt)
	}
	if p.IM != nil {
		p.IM(&im)
	}
	dir := t.TempDir()
	w := &World{t: t, Core: NewCore(t, opt), IM: NewCore(t, im), Data: filepath.Join(dir, "latchkey.db"), Users: usersFile(t, dir), Log: &imstest.Log{}, SIP: sip, command: p.Command, env: p.Env, sheds: p.Sheds}
	var err error
	if w.Mail, err = imstest.NewMailSink(""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Mail.Close)
	storagetest.Blank(t, w.Data)
	w.args = append([]string{
		"--data=" + w.Data, "--http-listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0",
		"--sip-listen=udp:" + sip + ",tcp:" + sip, "--msrp-listen=tcp:127.0.0.1:0", "--domain=guest.example",
		"--sip-core=" + w.Core.URI(), "--im-server=" + w.IM.URI(), "--directory=file:" + w.Users,
		"--mail=smtp://" + w.Mail.Addr(), "--mail-from=invitations@latchkey.example", "--log-level=debug",
	}, p.Args...)
	if p.Plain {
		w.args = append(w.args, "--interaction-mode=pager", "--im-server="+w.Core.URI())
	}
	w.Start()
	t.Cleanup(func() {
		w.Stop()
		if t.Failed() {
			t.Logf("the gateway's log:\n%s", w.Log)
		}
	})
	return w
}

// FreePort is an address for Plan.SIP, where others must know it first.
func FreePort(t testing.TB) string {
	t.Helper()
	return imstest.FreePort(t)
}

// NewCore starts one more core, whose violations fail the test.
func NewCore(t testing.TB, opt imstest.CoreOptions) *imstest.Core {
	t.Helper()
	c, err := imstest.NewCore(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	t.Cleanup(func() { noViolations(t, "core", c.Violations()) })
	return c
}

func noViolations(t testing.TB, who string, violations []string) {
	for _, v := range violations {
		t.Errorf("%s saw: %s", who, v)
	}
}

// Phone registers a subscriber's phone at the core. It has the tags of an RCS client unless the manner says others.
func (w *World) Phone(uri string, m imstest.Manner) *imstest.Phone {
	w.t.Helper()
	if m.Tags == "" {
		m.Tags = imstest.ChatTags
	}
	p, err := imstest.NewPhone(imstest.PhoneOptions{URI: uri, Password: Password, Core: w.Core.Addr(), Manner: m})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		w.Stop() // before the phone is gone, which answers its BYE
		p.Close()
		noViolations(w.t, "phone of "+uri, p.Violations())
	})
	if err := p.Register(w.Within(Patience)); err != nil {
		w.t.Fatal(err)
	}
	return p
}

// Args are the gateway's options.
func (w *World) Args() []string { return w.args }

// Within is a context that ends after d, and with the test.
func (w *World) Within(d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	w.t.Cleanup(cancel)
	return ctx
}

// ready reports whether the gateway takes work.
func ready(admin string) bool {
	res, err := http.Get("http://" + admin + "/readyz")
	if err != nil {
		return false
	}
	_ = res.Body.Close()
	return res.StatusCode == http.StatusOK
}
