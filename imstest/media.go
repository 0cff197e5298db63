package imstest

import (
	"context"
	"errors"
	"net"
)

// Media is the MSRP half of a phone: one session, for tests in which another program, such as
// SIPp, does the phone's signalling. It takes and sends what a Phone does in a chat, and is as strict.
type Media struct {
	phone *Phone
	call  *phoneCall
	ep    *endpoint
}

// NewMedia opens a session of the subscriber uri with peer, on a port of its own. Port and ID go into
// the session description that the other program sends.
func NewMedia(uri, peer string) (*Media, error) {
	p, err := NewPhone(PhoneOptions{URI: uri})
	if err != nil {
		return nil, err
	}
	c := newPhoneCall(peer, token())
	ep := p.newSession(c)
	if err := ep.listen(); err != nil {
		p.Close()
		return nil, err
	}
	c.swap(ep)
	return &Media{p, c, ep}, nil
}

// Port is the port that the session listens on.
func (m *Media) Port() string {
	_, port, _ := net.SplitHostPort(m.ep.ln.Addr().String())
	return port
}

// ID is the session id. The path is msrp://127.0.0.1:PORT/ID;tcp.
func (m *Media) ID() string { return m.ep.id }

// Await takes one connection of the peer (a=setup:passive). The peer's path is what its first request
// says; a test that knows the peer's session description compares it with RemotePath.
func (m *Media) Await() {
	m.ep.learns = true
	m.ep.accept()
}

// Connect connects to the peer's path (a=setup:active) and sends the empty SEND at once (RFC 4975 §5.4).
func (m *Media) Connect(path string) error {
	m.ep.setRemote(path)
	m.ep.ln.Close()
	return m.ep.connect(authority(path))
}

// RemotePath is the peer's path, "" as long as it is not known.
func (m *Media) RemotePath() string { return m.ep.remotePath() }

// Send sends a text that asks for both notifications and returns its imdn.Message-ID when the peer has
// answered 200.
func (m *Media) Send(ctx context.Context, text string) (id string, err error) {
	if m.RemotePath() == "" {
		return "", errors.New("the peer's path is not known")
	}
	id = token()
	body := writeEnvelope(m.phone.opt.URI, m.call.peer, id, "positive-delivery, display", "text/plain; charset=utf-8", text)
	return id, m.ep.send(ctx, token(), "message/cpim", body)
}

// Display says that the user has read a message of the peer (a displayed IMDN).
func (m *Media) Display(id string) error {
	return m.phone.receipt(m.call, m.call.peer, id, "display", "displayed")
}

// Done is closed when the session is over.
func (m *Media) Done() <-chan struct{} { return m.ep.done }

// Wait waits until n events of the type (message, repeat, receipt, composing) have happened and returns them all.
func (m *Media) Wait(ctx context.Context, eventType string, n int) ([]PhoneEvent, error) {
	return m.phone.Wait(ctx, eventType, n)
}

// Events lists all that happened so far.
func (m *Media) Events(eventType string) []PhoneEvent { return m.phone.Events(eventType) }

// Violations lists what the peer did against the specifications.
func (m *Media) Violations() []string { return m.phone.Violations() }

// Close ends the session.
func (m *Media) Close() {
	m.ep.close()
	m.phone.Close()
}
