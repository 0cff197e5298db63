package registrar_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"latchkey"
	"latchkey/internal/sipua"
	"latchkey/registrar"
)

const (
	bob     = latchkey.AccountID("sip:b_at_cc.com@guest.example")
	coreURI = "sip:127.0.0.1:5060"
	imURI   = "sip:127.0.0.1:5070"
)

// memory is a Store.
type memory struct {
	mu   sync.Mutex
	rows map[string]latchkey.Registration
	fail error // what SaveRegistration says, once set
}

func newMemory() *memory { return &memory{rows: map[string]latchkey.Registration{}} }

func (m *memory) SaveRegistration(_ context.Context, b latchkey.Registration) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return m.fail
	}
	m.rows[string(b.Account)+" "+string(b.Server)] = b
	return nil
}

func (m *memory) DeleteRegistration(_ context.Context, a latchkey.AccountID, s latchkey.Server) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.rows, string(a)+" "+string(s))
	return nil
}

func (m *memory) Registrations(_ context.Context, a latchkey.AccountID) ([]latchkey.Registration, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []latchkey.Registration
	for _, k := range slices.Sorted(maps.Keys(m.rows)) {
		if m.rows[k].Account == a {
			all = append(all, m.rows[k])
		}
	}
	return all, nil
}

func (m *memory) EachRegistration(_ context.Context, f func(latchkey.Registration) error) error {
	for _, k := range slices.Sorted(maps.Keys(m.rows)) {
		if err := f(m.rows[k]); err != nil {
			return err
		}
	}
	return nil
}

func (m *memory) row(t *testing.T, s latchkey.Server) latchkey.Registration {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	b, ok := m.rows[string(bob)+" "+string(s)]
	if !ok {
		t.Fatalf("no row for %s at %s", bob, s)
	}
	return b
}

func (m *memory) len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.rows)
}

// network is a Wire with a registrar of a few lines behind each hop.
type network struct {
	t *testing.T

	mu       sync.Mutex
	granted  time.Duration                                             // what a registrar grants at most; 0: what is asked
	password string                                                    // challenge, and want this
	delay    time.Duration                                             // of each answer
	answer   func(hop string, req *sip.Request) (*sip.Response, error) // overrides the registrar where it returns something
	heard    []heard
	standing map[string]string // hop and aor -> Call-ID
	cseqs    map[string]uint32 // Call-ID -> last
	extra    []sip.Header      // of a 200
}

// heard is one request that reached a server.
type heard struct {
	hop     string
	callID  string
	cseq    uint32
	expires time.Duration
	at      time.Time
	request *sip.Request
}

func newNetwork(t *testing.T) *network {
	return &network{t: t, standing: map[string]string{}, cseqs: map[string]uint32{}}
}

func (n *network) Contact(user string, hop sip.Uri) sip.Uri {
	return sip.Uri{Scheme: "sip", User: user, Host: "127.0.0.1", Port: 5080}
}

func (n *network) DoAuth(ctx context.Context, req *sip.Request, c sipua.Credentials) (*sip.Response, error) {
	n.mu.Lock()
	delay, password := n.delay, n.password
	n.mu.Unlock()
	select {
	case <-time.After(delay):
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", sipua.ErrTimeout, ctx.Err())
	}
	if password != "" {
		n.hear(req)
		if c.Password != password {
			return sip.NewResponseFromRequest(req, 401, "Unauthorized", nil), nil
		}
		req.CSeq().SeqNo++
	}
	res, err := n.hear(req)
	if errors.Is(err, errSilent) {
		<-ctx.Done()
		return nil, fmt.Errorf("%w: %w", sipua.ErrTimeout, ctx.Err())
	}
	return res, err
}

// errSilent is the answer of a server that doesn't answer.
var errSilent = errors.New("silent")

func (n *network) hear(req *sip.Request) (*sip.Response, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	hop := req.Route().Address.Clone()
	hop.UriParams.Remove("lr")
	seconds, err := strconv.Atoi(req.GetHeader("Expires").Value())
	if err != nil {
		n.t.Errorf("Expires: %v", err)
	}
	h := heard{hop.String(), req.CallID().Value(), req.CSeq().SeqNo, time.Duration(seconds) * time.Second, time.Now(), req.Clone()}
	n.heard = append(n.heard, h)
	// RFC 3261 §10.3 step 7: a CSeq that doesn't grow is refused.
	if h.cseq <= n.cseqs[h.callID] {
		n.t.Errorf("CSeq %d after %d for Call-ID %s", h.cseq, n.cseqs[h.callID], h.callID)
	}
	n.cseqs[h.callID] = h.cseq
	if n.answer != nil {
		res, err := n.answer(h.hop, req)
		if res != nil || err != nil {
			return res, err
		}
	}
	res := sip.NewResponseFromRequest(req, 200, "OK", nil)
	aor := h.hop + " " + req.To().Address.String()
	if h.expires == 0 {
		delete(n.standing, aor)
		return res, nil
	}
	n.standing[aor] = h.callID
	if n.granted > 0 {
		h.expires = min(h.expires, n.granted)
	}
	other := &sip.ContactHeader{Address: sip.Uri{Scheme: "sip", User: "b", Host: "10.0.0.9"}, Params: sip.HeaderParams{{K: "expires", V: "5"}}}
	mine := req.Contact().Clone()
	mine.Params.Add("expires", strconv.Itoa(int(h.expires/time.Second)))
	res.AppendHeader(other)
	res.AppendHeader(mine)
	for _, x := range n.extra {
		res.AppendHeader(x)
	}
	return res, nil
}

func (n *network) set(f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f()
}

func (n *network) requests() []heard {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.heard)
}

func (n *network) registered() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.standing)
}

func (n *network) says(code int, reason string, headers ...sip.Header) {
	n.set(func() {
		n.answer = func(_ string, req *sip.Request) (*sip.Response, error) {
			res := sip.NewResponseFromRequest(req, code, reason, nil)
			for _, h := range headers {
				res.AppendHeader(h)
			}
			return res, nil
		}
	})
}

func (n *network) answers() { n.set(func() { n.answer = nil }) }

// run starts Run and returns what stops it and waits.
func run(t *testing.T, r *registrar.Registrar) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
	}
}

func options() registrar.Options { return registrar.Options{Core: coreURI} }

func im() []latchkey.Interaction { return []latchkey.Interaction{latchkey.IM} }
