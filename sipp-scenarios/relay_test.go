package scenarios

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"latchkey/imstest"
	"latchkey/msrp"
)

// msrpRelay is a Kamailio with deploy/kamailio/msrp-relay.cfg.
type msrpRelay struct{ *core }

func startRelay(t *testing.T, defines ...string) msrpRelay {
	t.Helper()
	return msrpRelay{startKamailio(t, "msrp-relay.cfg", "RELAY_PORT", append([]string{`RELAY_PASSWORD="s3cret"`}, defines...)...)}
}

// client connects to the relay. log is what of it the test sees on the wire.
func (r msrpRelay) client(t *testing.T, password string, expires time.Duration) (*msrp.RelayClient, *output) {
	t.Helper()
	wire := &output{}
	dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
		nc, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		return tapped{nc, wire}, err
	}
	c, err := msrp.ConnectRelay(bounded(t), dial, nil, msrp.RelayOptions{
		Relays:  []msrp.RelayAccount{{URI: msrp.URI{Host: "127.0.0.1", Port: r.port, Transport: "tcp"}, Username: "alice", Password: password}},
		Expires: expires,
	})
	if err != nil {
		t.Fatalf("ConnectRelay = %v", err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c, wire
}

// tapped writes down what a connection reads.
type tapped struct {
	net.Conn
	wire *output
}

func (c tapped) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	_, _ = c.wire.Write(p[:n])
	return n, err
}

// pathOf asks a client for a path.
func pathOf(t *testing.T, c *msrp.RelayClient) *msrp.RelayPath {
	t.Helper()
	p, err := c.Authorize(bounded(t))
	if err != nil {
		t.Fatalf("Authorize = %v", err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

// renewed tells how often the relay has renewed a path.
func (r msrpRelay) renewed() int {
	var item struct{ Item struct{ Value int } }
	if err := r.call("htable.get", &item, "counts", "renewed"); err != nil {
		r.t.Logf("htable.get = %v", err)
		return 0
	}
	return item.Item.Value
}

// box keeps what a session receives.
type box struct {
	messages chan []byte
	reports  chan msrp.Report
}

func newBox() box { return box{make(chan []byte, 100), make(chan msrp.Report, 100)} }

func (b box) ServeMSRP(_ *msrp.Session, m *msrp.IncomingMessage) error {
	body, err := io.ReadAll(m.Body)
	if err == nil {
		b.messages <- body
	}
	return err
}

func (b box) ServeReport(_ *msrp.Session, r msrp.Report) { b.reports <- r }

// come takes from a channel what has to come.
func come[T any](t *testing.T, what string, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(patience):
		t.Fatalf("%s did not come", what)
	}
	return v
}

// relayed gives two sessions that are bound to each other through the relay, each by a path of its own; a is the active one.
func relayed(t *testing.T, pa, pb *msrp.RelayPath, chunk int) (a, b *msrp.Session, atA, atB box) {
	t.Helper()
	atA, atB = newBox(), newBox()
	a = pa.NewSession(msrp.SessionOptions{Remote: pb.Path(), Handler: atA, ChunkSize: chunk})
	b = pb.NewSession(msrp.SessionOptions{Remote: pa.Path(), Handler: atB, ChunkSize: chunk})
	t.Cleanup(func() { _, _ = a.Close(), b.Close() })
	pb.Expect(b)
	if err := pa.Connect(bounded(t), a); err != nil {
		t.Fatalf("Connect = %v", err)
	}
	come(t, "the passive side's binding", b.Bound())
	return a, b, atA, atB
}

// say sends a message and waits until it, and the success report, have come.
func say(t *testing.T, from *msrp.Session, reports box, to box, id string, body []byte) {
	t.Helper()
	err := from.Send(bounded(t), &msrp.Message{ID: id, ContentType: "application/octet-stream", Body: bytes.NewReader(body), Size: int64(len(body)), SuccessReport: true})
	if err != nil {
		t.Fatalf("Send(%d octets) = %v", len(body), err)
	}
	if got := come(t, "the message", to.messages); !bytes.Equal(got, body) {
		t.Errorf("%d octets came as %d, or with other content", len(body), len(got))
	}
	if r := come(t, "the report", reports.reports); r.MessageID != id || r.Code != 200 || r.Range.Start != 1 || r.Range.Total != int64(len(body)) {
		t.Errorf("report %+v of %s, want 200 for all %d octets", r, id, len(body))
	}
}

// chunkSize is what Kamailio's msrp module takes: its frames have 11,238 octets at most, heads included.
const chunkSize = 8 << 10

// B4.20 (RFC 4976 §5, §6): two sessions of ours talk through Kamailio's relay, which challenges AUTH. Either of them has a connection of its
// own, or both share one.
func TestTwoSessionsTalkThroughKamailio(t *testing.T) {
	relay := startRelay(t)
	for _, shared := range []bool{false, true} {
		t.Run(map[bool]string{false: "two connections", true: "one connection"}[shared], func(t *testing.T) {
			ca, wire := relay.client(t, "s3cret", 0)
			cb := ca
			if !shared {
				cb, _ = relay.client(t, "s3cret", 0)
			}
			pa, pb := pathOf(t, ca), pathOf(t, cb)
			if !bytes.Contains([]byte(wire.String()), []byte("401 Unauthorized")) {
				t.Errorf("AUTH was not challenged: %s", wire)
			}
			if len(pa.Path()) != 2 || pa.Path()[1] != pa.Local() || pa.Path()[0].Port != relay.port {
				t.Errorf("Path = %s, want the relay, then us", pa.Path())
			}
			a, b, atA, atB := relayed(t, pa, pb, chunkSize)
			random := rand.NewChaCha8([32]byte{1})
			for i, n := range []int{10, 3 << 10, 300 << 10} {
				body := make([]byte, n)
				_, _ = random.Read(body)
				copy(body[n/2:], "\r\n-------")
				say(t, a, atA, atB, fmt.Sprint("from-a-", i), body)
				say(t, b, atB, atA, fmt.Sprint("from-b-", i), body)
			}
			// The end of sessions leaves the connection to the next ones.
			_, _ = a.Close(), b.Close()
			a, _, atA, atB = relayed(t, pathOf(t, ca), pathOf(t, cb), chunkSize)
			say(t, a, atA, atB, "again", []byte("hello again"))
		})
	}
}

// B4.20: what is too large for the module is refused, not lost. Our chunks are larger if nobody says otherwise.
func TestFramesTooLargeForKamailioAreRefused(t *testing.T) {
	relay := startRelay(t)
	c, _ := relay.client(t, "s3cret", 0)
	a, _, _, _ := relayed(t, pathOf(t, c), pathOf(t, c), 0)
	err := a.Send(bounded(t), &msrp.Message{ContentType: "text/plain", Body: bytes.NewReader(make([]byte, 20000)), Size: 20000})
	status, _ := errors.AsType[*msrp.StatusError](err)
	if status == nil || status.Code != msrp.StatusStop {
		t.Errorf("Send in chunks of 16 KiB = %v, want 413", err)
	}
}

// B4.20 (RFC 4976 §9.1): a wrong password gets no path, and is not tried twice.
func TestKamailioRefusesAWrongPassword(t *testing.T) {
	relay := startRelay(t)
	c, wire := relay.client(t, "guess", 0)
	p, err := c.Authorize(bounded(t))
	status, _ := errors.AsType[*msrp.StatusError](err)
	if status == nil || status.Code != msrp.StatusUnauthorized {
		t.Errorf("Authorize = %v, %v, want 401", p, err)
	}
	if n := bytes.Count([]byte(wire.String()), []byte(" 401 ")); n != 2 {
		t.Errorf("%d times 401, want 2", n)
	}
}

// B4.20 (RFC 4976 §5.1): a path is renewed before it expires, and a time that the relay does not want is changed as it says.
func TestAPathThroughKamailioOutlivesItsExpiry(t *testing.T) {
	t.Parallel() // it waits for times of which a quarter is there for a machine that is busy
	relay := startRelay(t, "RELAY_MIN_EXPIRES=4", "RELAY_MAX_EXPIRES=6")
	ca, wire := relay.client(t, "s3cret", time.Hour)
	cb, _ := relay.client(t, "s3cret", 4*time.Second)
	pa, pb := pathOf(t, ca), pathOf(t, cb)
	if !bytes.Contains([]byte(wire.String()), []byte(" 423 ")) {
		t.Errorf("an hour was not refused: %s", wire)
	}
	a, b, atA, atB := relayed(t, pa, pb, chunkSize)
	imstest.Eventually(t, patience, func() bool { return relay.renewed() >= 5 }) // 3 s and 4.5 s apart: both were renewed twice
	say(t, a, atA, atB, "later", []byte("still there"))
	say(t, b, atB, atA, "later", []byte("here, too"))
	if pa.Err() != nil || pb.Err() != nil {
		t.Errorf("the paths are over: %v, %v", pa.Err(), pb.Err())
	}
	// What is not renewed is forgotten.
	_ = pb.Close()
	imstest.Eventually(t, patience, func() bool {
		err := a.Send(bounded(t), &msrp.Message{ContentType: "text/plain", Body: bytes.NewReader([]byte("?")), Size: 1})
		status, _ := errors.AsType[*msrp.StatusError](err)
		return status != nil && status.Code == msrp.StatusNoSession
	})
}
