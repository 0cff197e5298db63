package presence_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"latchkey"
	"latchkey/internal/sipua"
	"latchkey/presence"
)

const (
	bob     = latchkey.AccountID("sip:b_at_cc.com@guest.example")
	coreURI = "sip:127.0.0.1:5060"

	// As rcsjta sends it; see PROTOCOLS B3.03.
	rcsContact = `<sip:a@10.0.0.1:5060;transport=tcp>;+sip.instance="<urn:gsma:imei:35824005-944763-1>";` +
		`+g.3gpp.iari-ref="urn%3Aurn-7%3A3gpp-application.ims.iari.rcs.fthttp,urn%3Aurn-7%3A3gpp-application.ims.iari.rcse.im"`
)

var alice = latchkey.MustAddress("sip:a@cc.com")

// network is a Wire to a core that gives one answer to everything.
type network struct {
	t *testing.T

	mu       sync.Mutex
	code     int // 0: silence
	headers  []string
	delay    time.Duration
	err      error
	requests []*sip.Request
	names    []string // user names of the credentials
}

func (n *network) Contact(user string, _ sip.Uri) sip.Uri {
	return sip.Uri{Scheme: "sip", User: user, Host: "127.0.0.1", Port: 5080}
}

func (n *network) DoAuth(ctx context.Context, req *sip.Request, c sipua.Credentials) (*sip.Response, error) {
	n.mu.Lock()
	n.requests = append(n.requests, req.Clone())
	n.names = append(n.names, c.Username)
	code, headers, delay, err := n.code, n.headers, n.delay, n.err
	n.mu.Unlock()
	if err != nil {
		return nil, err
	}
	if code == 0 {
		delay = time.Hour
	}
	select {
	case <-time.After(delay):
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", sipua.ErrTimeout, ctx.Err())
	}
	// The answer goes through the real parser, with its habits.
	raw := sip.NewResponseFromRequest(req, code, "Whatever", nil)
	raw.PrependHeader(&sip.ViaHeader{ProtocolName: "SIP", ProtocolVersion: "2.0", Transport: "UDP", Host: "h", Params: sip.HeaderParams{{K: "branch", V: "z9hG4bKx"}}})
	text := strings.TrimSuffix(raw.String(), "\r\n")
	for _, h := range headers {
		text += h + "\r\n"
	}
	msg, err := sip.ParseMessage([]byte(text + "\r\n"))
	if err != nil {
		n.t.Errorf("answer: %v\n%s", err, text)
		return nil, err
	}
	return msg.(*sip.Response), nil
}

func (n *network) says(code int, headers ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.code, n.headers = code, headers
}

func (n *network) asked() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.requests)
}

func newBoard(t *testing.T, n *network, opt presence.Options) *presence.Board {
	t.Helper()
	opt.Core = coreURI
	b := presence.New(n, opt)
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Errorf("Close = %v", err)
		}
	})
	return b
}
