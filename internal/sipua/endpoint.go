// Package sipua is a thin layer over sipgo: listeners, transactions, digest and a strict
// check of what arrives (RFC 3261 §7, §8, §17, §18, §20, §22, §25; RFC 8760), with admission
// control under overload (RFC 7339).
//
// It owns sockets and transactions. It knows nothing of dialogs, which are b2bua's, nor
// of what a request is for. At its border stand sipgo's message types.
package sipua

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/emiago/sipgo/sip"
)

func init() {
	// sipgo refuses datagrams above this less 200, responses too. But a response goes the way its request came
	// (RFC 3261 §18.2.2), however long it is, and so does a request to a peer without TCP. IP fragments them.
	sip.UDPMTUSize = 65507 + 200
	sip.SetDefaultLogger(quiet)
}

// quiet is for sipgo, which logs whole messages, with what people write.
var quiet = slog.New(slog.DiscardHandler)

// Errors of requests that got no response.
var (
	ErrTimeout   = errors.New("no response")     // RFC 3261 timer B or F, or the caller's deadline
	ErrTransport = errors.New("transport error") // the message could not be sent
	ErrMisfit    = fmt.Errorf("%w: the response belongs to something else", ErrTransport)
	errClosed    = fmt.Errorf("%w: closed", ErrTransport)
)

// Options of an Endpoint.
type Options struct {
	Listen    []string // "udp:127.0.0.1:5080", "tcp:127.0.0.1:5080"; port 0: any free one
	UserAgent string   // value of User-Agent and Server; "" sends none
	Log       *slog.Logger

	ListenPacket func(network, address string) (net.PacketConn, error) // nil: net.ListenPacket; tests with a clock of their own bring a network
}

// Addr is an address that the endpoint listens on.
type Addr struct {
	Network  string // udp or tcp
	HostPort string
}

// Endpoint is a set of SIP listeners with one transaction layer.
type Endpoint struct {
	log     *slog.Logger
	sockets *sip.TransportLayer
	layer   *sip.TransactionLayer
	agent   string
	addrs   []Addr
	closers []func() error
	handler atomic.Pointer[func(*Transaction)]

	listenPacket func(network, address string) (net.PacketConn, error)
	running      sync.WaitGroup // readers of the listeners

	heard atomic.Int64 // when something came in, in Unix nanoseconds

	started    time.Time // what arrivals are counted from
	letters    sync.Pool // of *letter
	load       load
	neighbours neighbours

	mu      sync.Mutex          // guards names; sending grows under it and not after closed
	names   map[string][]net.IP // hosts that Owns was asked for
	sending sync.WaitGroup
	closed  atomic.Bool
	stopped context.Context // ends by stop, in Close
	stop    context.CancelFunc
}

// Listen binds all addresses and begins to serve. Requests that arrive before Handle was called get 503.
func Listen(opt Options) (*Endpoint, error) {
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	if opt.ListenPacket == nil {
		opt.ListenPacket = net.ListenPacket
	}
	e := &Endpoint{log: opt.Log, agent: opt.UserAgent, listenPacket: opt.ListenPacket, started: time.Now(), letters: sync.Pool{New: func() any { return new(letter) }}}
	e.stopped, e.stop = context.WithCancel(context.Background())
	e.sockets = sip.NewTransportLayer(net.DefaultResolver, newParser(), nil, sip.WithTransportLayerLogger(quiet), sip.WithTransportLayerReadFilter(e.filter))
	e.sockets.OnMessage(e.note) // before the transaction layer, which hands each message to a goroutine
	e.layer = sip.NewTransactionLayer(e.sockets, sip.WithTransactionLayerLogger(quiet), sip.WithTransactionLayerTerminateOnConnClose(),
		sip.WithTransactionLayerUnhandledResponseHandler(func(*sip.Response) {}))
	e.layer.OnRequest(e.serve)
	for _, l := range opt.Listen {
		if err := e.bind(l); err != nil {
			_ = e.Close()
			return nil, err
		}
	}
	return e, nil
}

func (e *Endpoint) bind(listen string) error {
	network, hostport, _ := strings.Cut(listen, ":")
	serve := func(run func() error) {
		e.running.Go(func() { // ends when Close closes the socket
			if err := run(); err != nil && !e.closed.Load() {
				e.log.Error("sip listener stopped", "listen", listen, "error", err)
			}
		})
	}
	switch network {
	case "udp":
		conn, err := e.listenPacket("udp", hostport)
		if err != nil {
			return fmt.Errorf("listen %s: %w", listen, err)
		}
		if udp, ok := conn.(*net.UDPConn); ok {
			_ = udp.SetReadBuffer(4 << 20) // as far as net.core.rmem_max allows: a burst of calls must not be lost
		}
		e.addrs = append(e.addrs, Addr{network, conn.LocalAddr().String()})
		e.closers = append(e.closers, conn.Close)
		serve(func() error { return e.sockets.ServeUDP(&packets{PacketConn: conn, endpoint: e}) })
		// Until sipgo knows the socket a request would want one of its own on the same address.
		for known := (sip.Connection)(nil); known == nil; time.Sleep(50 * time.Microsecond) {
			known, _ = e.sockets.GetConnection("udp", conn.LocalAddr().String())
		}
	case "tcp":
		ln, err := net.Listen("tcp", hostport)
		if err != nil {
			return fmt.Errorf("listen %s: %w", listen, err)
		}
		e.addrs = append(e.addrs, Addr{network, ln.Addr().String()})
		e.closers = append(e.closers, ln.Close)
		serve(func() error { return e.sockets.ServeTCP(&door{Listener: ln, endpoint: e}) })
	default:
		return fmt.Errorf("listen %q: the network must be udp or tcp, as in udp:127.0.0.1:5080", listen)
	}
	return nil
}

// Addrs lists the bound addresses in the order of Options.Listen.
func (e *Endpoint) Addrs() []Addr { return e.addrs }

// Handle sets the function that takes each new request, ACK for 2xx included. It runs on a goroutine of its
// own; for an INVITE it must not return before a final response was sent.
func (e *Endpoint) Handle(h func(*Transaction)) { e.handler.Store(&h) }

// serve is called by sipgo on a fresh goroutine for each request that isn't a retransmission.
func (e *Endpoint) serve(req *sip.Request, tx *sip.ServerTx) {
	defer tx.TerminateGracefully()
	t := &Transaction{Request: req, Tag: req.Laddr.Hostname, tx: tx, endpoint: e}
	if now := time.Now(); req.Laddr.Port > 0 {
		e.load.noteWait(uint32(req.Laddr.Port&numberMask), now.Sub(e.started)-time.Duration(req.Laddr.Port>>numberBits)*time.Microsecond, now)
	}
	if req.Method != sip.INVITE {
		e.load.hold(1)
		defer e.load.hold(-1)
	}
	// A panic here would end the process, since the goroutine is sipgo's.
	defer func() {
		if p := recover(); p != nil {
			e.log.Error("sip handler panicked", "method", req.Method, "panic", p, "stack", string(debug.Stack()))
			if !req.IsAck() && !t.final.Load() {
				_ = t.Respond(500, "Server Internal Error")
			}
		}
	}()
	if code, why := Check(req); code != 0 {
		e.log.Info("sip request refused", "method", req.Method, "source", req.Source(), "code", code, "reason", why)
		if !req.IsAck() {
			_ = t.Respond(code, why)
		}
		return
	}
	h := e.handler.Load()
	if h == nil || e.closed.Load() {
		if !req.IsAck() {
			_ = t.Respond(503, "Service Unavailable", sip.NewHeader("Retry-After", "5"))
		}
		return
	}
	(*h)(t)
}

// settle is how long Close waits after the last message that came in. sipgo serves each on a goroutine which
// opens a socket to answer where it finds none; those of goroutines that were slower are swept up later.
const settle = 50 * time.Millisecond

// filter sees all that comes in, and lets nothing through once Close has begun.
func (e *Endpoint) filter(_ sip.TransportReadProps, data []byte) ([]byte, error) {
	if e.closed.Load() {
		return nil, nil
	}
	e.heard.Store(time.Now().UnixNano())
	return data, nil
}

// Close stops the listeners and drops all transactions. It is idempotent.
func (e *Endpoint) Close() error {
	e.mu.Lock()
	again := e.closed.Swap(true)
	e.mu.Unlock()
	if again {
		return nil
	}
	e.stop()
	time.Sleep(time.Until(time.Unix(0, e.heard.Load()).Add(settle)))
	var err error
	for _, c := range e.closers {
		if cerr := c(); cerr != nil && !errors.Is(cerr, net.ErrClosed) {
			err = errors.Join(err, cerr)
		}
	}
	e.running.Wait() // now no connection comes in behind the next line's back
	err = errors.Join(err, e.drop())
	e.sending.Wait() // and now none goes out
	for _, later := range []time.Duration{settle, 10 * settle, 40 * settle} {
		time.AfterFunc(later, func() { _ = e.drop() })
	}
	return errors.Join(err, e.drop())
}

// drop ends all transactions and connections.
func (e *Endpoint) drop() error {
	e.layer.Close()
	return e.sockets.Close()
}

// A request's number and the microsecond in which it came share an int.
const (
	numberBits = 20
	numberMask = 1<<numberBits - 1
)

// note sees each message on its reader's goroutine: it hears what responses ask for, and writes down when a request came. Laddr is for
// requests that are sent; in this one it tells that, and what choose chose.
func (e *Endpoint) note(m sip.Message) {
	switch m := m.(type) {
	case *sip.Response:
		e.neighbours.hear(m, time.Now())
	case *sip.Request:
		m.Laddr.Port = int(time.Since(e.started).Microseconds())<<numberBits | int(e.load.number()&numberMask)
		choose(m)
	}
}

// choose gives an INVITE that opens a dialog its To tag, so that all responses have the same one, sipgo's own
// 487 for a CANCEL included (RFC 3261 §8.2.6.2). Once a transaction has the request, nobody may change it.
func choose(req *sip.Request) {
	if req.Method != sip.INVITE || req.To() == nil || req.To().Params.GetOr("tag", "") != "" {
		return
	}
	req.Laddr.Hostname = NewToken()
	req.To().Params.Add("tag", req.Laddr.Hostname)
}

// Contact is the URI under which the endpoint is reached by way of hop: the listener of hop's
// transport, the first one if there is none. user may be empty.
func (e *Endpoint) Contact(user string, hop sip.Uri) sip.Uri {
	a := e.listener(transportOf(hop))
	host, port := e.reachable(a, hop)
	u := sip.Uri{Scheme: "sip", User: user, Host: bracket(host), Port: port, UriParams: sip.NewParams()}
	if a.Network != "udp" {
		u.UriParams.Add("transport", a.Network)
	}
	return u
}

// reachable is a listener's host and port for peers in hop's direction. A listener on all addresses
// has none of its own to tell; the one that leads to hop stands for it.
func (e *Endpoint) reachable(a Addr, hop sip.Uri) (host string, port int) {
	host, port = splitHostPort(a.HostPort)
	if ip := net.ParseIP(host); ip == nil || !ip.IsUnspecified() || hop.Host == "" {
		return host, port
	}
	route, err := net.Dial("udp", net.JoinHostPort(unbracket(hop.Host), "5060")) // sends nothing
	if err != nil {
		return host, port
	}
	defer route.Close()
	host, _ = splitHostPort(route.LocalAddr().String())
	return host, port
}

// listener is the bound address for a transport, or the first one.
func (e *Endpoint) listener(network string) Addr {
	for _, a := range e.addrs {
		if a.Network == network {
			return a
		}
	}
	if len(e.addrs) == 0 {
		return Addr{"udp", "127.0.0.1:5060"}
	}
	return e.addrs[0]
}

func (e *Endpoint) has(network string) bool {
	for _, a := range e.addrs {
		if a.Network == network {
			return true
		}
	}
	return false
}

// transportOf is the URI's transport parameter, udp by default, tls for sips (RFC 3263 §4.1).
func transportOf(u sip.Uri) string {
	if u.Scheme == "sips" {
		return "tls"
	}
	if t, ok := u.UriParams.Get("transport"); ok && t != "" {
		return strings.ToLower(t)
	}
	return "udp"
}

func splitHostPort(hostport string) (string, int) {
	host, p, err := net.SplitHostPort(hostport)
	if err != nil {
		return hostport, 0
	}
	port, _ := strconv.Atoi(p)
	return host, port
}

func bracket(host string) string {
	if strings.Contains(host, ":") && host[0] != '[' {
		return "[" + host + "]"
	}
	return host
}

// asError maps sipgo's and context's errors to ours.
func asError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, sip.ErrTransactionTimeout), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%w: %w", ErrTimeout, err)
	case errors.Is(err, context.Canceled), errors.Is(err, ErrTransport):
		return err
	}
	return fmt.Errorf("%w: %w", ErrTransport, err)
}
