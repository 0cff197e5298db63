package scenarios

import (
	"cmp"
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"latchkey"
	"latchkey/imstest"
	"latchkey/internal/sipua"
	"latchkey/presence"
	"latchkey/registrar"
	"latchkey/storage"
)

const (
	bob    = latchkey.AccountID("sip:b_at_cc.com@guest.example")
	bobAOR = "b_at_cc.com@guest.example"
)

// side is our side of the wire: the rooms under test on real sockets and a real database.
type side struct {
	sip       *sipua.Endpoint
	hop       string // the core's URI with the transport
	auth      registrar.Auth
	registrar *registrar.Registrar
	presence  *presence.Board
}

// options of a side.
type options struct {
	transport string // udp where empty
	auth      string
	expires   time.Duration
	timeout   time.Duration // of questions for the status; 0: a slow machine is no silent core
}

func newSide(t *testing.T, c *core, opt options) *side {
	t.Helper()
	own := sipua.Options{Listen: []string{"udp:127.0.0.1:0", "tcp:127.0.0.1:0"}, UserAgent: "Latchkey", ServeAll: true}
	if c.papers != nil {
		own.Listen, own.TLS = append(own.Listen, "tls:127.0.0.1:0"), c.papers.tls()
	}
	e, err := sipua.Listen(own)
	if err != nil {
		t.Fatalf("Listen = %v", err)
	}
	t.Cleanup(func() { _ = e.Close() })
	db, err := storage.Open(t.Context(), filepath.Join(t.TempDir(), "latchkey.db"), storage.Options{})
	if err != nil {
		t.Fatalf("Open = %v", err)
	}
	t.Cleanup(func() { _ = db.Close() })
	auth, err := registrar.ParseAuth(opt.auth)
	if err != nil {
		t.Fatalf("ParseAuth = %v", err)
	}
	hop := c.uri()
	switch opt.transport {
	case "":
	case "tls":
		hop = c.secureURI()
	default:
		hop += ";transport=" + opt.transport
	}
	r := registrar.New(db, e, registrar.Options{Core: hop, Auth: auth, Expires: opt.expires, Tags: presence.OwnTags().Params()})
	b := presence.New(e, presence.Options{Core: hop, Credentials: auth.Credentials, ServiceRoute: r.ServiceRoute, Timeout: cmp.Or(opt.timeout, patience)})
	t.Cleanup(func() { _ = b.Close() })
	return &side{sip: e, hop: hop, auth: auth, registrar: r, presence: b}
}

func (s *side) keep(t *testing.T) {
	t.Helper()
	if err := s.registrar.Keep(t.Context(), bob, []latchkey.Interaction{latchkey.IM}); err != nil {
		t.Fatalf("Keep = %v", err)
	}
}

// F01, F14, F20, R5, R21, R29, B1.21, B1.23, B2.09: the life of an account in a real registrar.
func TestAccountLivesInARealCore(t *testing.T) {
	for _, c := range []struct {
		name, transport, auth string
		defines               []string
	}{
		{"open", "udp", "none", nil},
		{"open by TCP", "tcp", "none", nil},
		{"shared password", "udp", "shared:s3cret", []string{`AUTH_SHARED="s3cret"`}},
		{"shared password by TCP", "tcp", "shared:s3cret", []string{`AUTH_SHARED="s3cret"`}},
		{"shared password with SHA-256", "udp", "shared:s3cret", []string{`AUTH_SHARED="s3cret"`, "AUTH_SHA256"}},
		{"ephemeral name", "udp", "ephemeral:t0p", []string{`AUTH_EPHEMERAL="t0p"`}},
		{"shared password by TLS with certificates both ways", "tls", "shared:s3cret", []string{`AUTH_SHARED="s3cret"`}}, // B2.10, S17
	} {
		t.Run(c.name, func(t *testing.T) {
			start := startCore
			if c.transport == "tls" {
				start = startSecureCore
			}
			k := start(t, c.defines...)
			us := newSide(t, k, options{transport: c.transport, auth: c.auth})
			us.keep(t)
			first := k.registered(bobAOR)
			if len(first) != 1 || !strings.HasPrefix(first[0].Address, "sip:b_at_cc.com@127.0.0.1:") || first[0].Expires < 599000 || first[0].UserAgent != "Latchkey" {
				t.Fatalf("the core has %+v, want our contact for 600000 s", first)
			}
			_, named, _ := strings.Cut(first[0].Address, ";transport=")
			if named != strings.TrimPrefix(c.transport, "udp") {
				t.Errorf("contact %s", first[0].Address)
			}
			if err := us.registrar.Confirm(t.Context(), bob); err != nil {
				t.Fatalf("Confirm = %v", err)
			}
			second := k.registered(bobAOR)
			if len(second) != 1 || second[0].CallID != first[0].CallID || second[0].CSeq <= first[0].CSeq {
				t.Errorf("after the login the core has %+v, want the Call-ID of %+v and a higher CSeq", second, first)
			}
			if err := us.registrar.Drop(t.Context(), bob); err != nil {
				t.Fatalf("Drop = %v", err)
			}
			if left := k.registered(bobAOR); len(left) != 0 {
				t.Errorf("after the farewell the core has %+v", left)
			}
		})
	}
}

// F12, F14: a wrong password is refused once and for all, and leaves nothing.
func TestRealCoreRefusesAWrongPassword(t *testing.T) {
	for _, c := range []struct{ define, auth string }{
		{`AUTH_SHARED="s3cret"`, "shared:wrong"},
		{`AUTH_SHARED="s3cret"`, "none"},
		{`AUTH_EPHEMERAL="t0p"`, "ephemeral:wrong"},
	} {
		t.Run(c.define+" "+c.auth, func(t *testing.T) {
			k := startCore(t, c.define)
			us := newSide(t, k, options{auth: c.auth})
			if err := us.registrar.Keep(t.Context(), bob, nil); !latchkey.Is(err, latchkey.KindRegistrationFailed) {
				t.Errorf("Keep = %v, want %v", err, latchkey.KindRegistrationFailed)
			}
			if left := k.registered(bobAOR); len(left) != 0 {
				t.Errorf("the core has %+v", left)
			}
		})
	}
}

// F15, B1.20: what the core grants is refreshed in time, and its Service-Route is kept.
func TestRealCoreIsAskedAgainInTime(t *testing.T) {
	t.Parallel()                                         // it waits for refreshes
	k := startCore(t, "MAX_EXPIRES=10", "SERVICE_ROUTE") // of which half is there for a machine that is busy
	us := newSide(t, k, options{})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- us.registrar.Run(ctx) }()
	us.keep(t)
	first := k.registered(bobAOR)
	if len(first) != 1 || first[0].Expires > 10 {
		t.Fatalf("the core has %+v, want our contact for 10 s", first)
	}
	route, err := us.registrar.ServiceRoute(t.Context(), bob)
	if want := "sip:orig@" + k.hostport() + ";lr"; err != nil || len(route) != 1 || route[0] != want {
		t.Errorf("ServiceRoute = %v, %v, want %s", route, err, want)
	}
	imstest.Eventually(t, 2*patience, func() bool { // two refreshes, none too late
		now := k.registered(bobAOR)
		if len(now) != 1 || now[0].CallID != first[0].CallID {
			t.Fatalf("the core has %+v, want %+v", now, first)
		}
		return now[0].CSeq >= first[0].CSeq+2
	})
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run = %v", err)
	}
}

// R5: a core that is down is told apart from one that refuses.
func TestCoreThatIsDown(t *testing.T) {
	k := startCore(t)
	us := newSide(t, k, options{transport: "tcp"})
	k.stop()
	if err := us.registrar.Keep(t.Context(), bob, nil); !latchkey.Is(err, latchkey.KindCoreTimeout) {
		t.Errorf("Keep = %v, want %v", err, latchkey.KindCoreTimeout)
	}
}
