// Package sipua is the SIP wire: transports (UDP, TCP, TLS, WebSocket; RFC 3261 §18, RFC 3581, RFC 5626 §4.4.1, RFC 5922,
// RFC 5923, RFC 7118), the next hop (RFC 3263), transactions, digest, a strict check of what arrives (RFC 3261 §7, §8, §17, §18,
// §20, §22, §25; RFC 8760) and admission control under overload (RFC 7339).
//
// It owns sockets, connections and transactions. It knows nothing of
// dialogs, which are b2bua's, nor of what a request is for. At its border stand sipgo's message types. See docs/decisions/0006.
package sipua

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/emiago/sipgo/sip"
	"golang.org/x/sync/singleflight"
)

func init() { sip.SetDefaultLogger(silent) }

// silent is for sipgo, which logs whole messages, with what people write.
var silent = slog.New(slog.DiscardHandler)

// Errors of requests that got no response.
var (
	ErrTimeout   = errors.New("no response")     // RFC 3261 timer B or F, or the caller's deadline
	ErrTransport = errors.New("transport error") // the message could not be sent
	ErrMisfit    = fmt.Errorf("%w: the response belongs to something else", ErrTransport)
	errClosed    = fmt.Errorf("%w: closed", ErrTransport)
)

// Options of an Endpoint.
type Options struct {
	Listen    []string // "udp:127.0.0.1:5080", also tcp:, tls:, ws: and wss:; port 0: any free one
	UserAgent string   // value of User-Agent and Server; "" sends none
	TLS       TLS      // for tls: and wss:, both ways
	Log       *slog.Logger

	KeepAlive time.Duration // between keep-alives on connections that we opened; 0: two minutes (RFC 5626 §4.4.1); negative: none
	DNS       string        // host:port of a name server; "": as this machine does
	StandIns  []sip.Uri     // hops that take over from the first of them, in their order; they count as one
	Origins   []string      // of Web pages that may connect by WebSocket beside those of the listener's own host
	// ListenPacket opens UDP ports; nil: net.ListenPacket. Tests with a clock of their own bring a network.
	ListenPacket func(network, address string) (net.PacketConn, error)
	// ServeAll refuses nothing for overload, and spares no next hop that is silent: tests that want each answer run beside others on slow machines.
	ServeAll bool
}

// Addr is an address that the endpoint listens on.
type Addr struct {
	Network  string // udp, tcp, tls, ws or wss
	HostPort string
}

// Endpoint is a set of SIP listeners with one transaction layer.
type Endpoint struct {
	log       *slog.Logger
	parser    *sip.Parser
	agent     string
	tls       TLS
	keepAlive time.Duration
	addrs     []Addr
	listeners []net.Listener
	handler   atomic.Pointer[func(*Transaction)]

	listenPacket func(network, address string) (net.PacketConn, error)
	resolver     resolver
	standIns     []sip.Uri
	origins      []string
	shunned      shunned
	table        table
	dialing      singleflight.Group // of streams

	letters    sync.Pool // of *letter
	places     places
	load       load
	neighbours neighbours
	silences   silences
	counts     counts

	mu      sync.Mutex // guards what follows; running grows under it and not after closed
	names   map[string][]net.IP
	sockets []*socket
	streams map[*link]struct{}
	known   map[streamKey]*link
	running sync.WaitGroup // all who read, and those who open something
	closed  atomic.Bool
	stopped context.Context // ends by stop, in Close
	stop    context.CancelFunc
}

// keepAliveEvery is the upper bound of RFC 5626 §4.4.1 for streams.
const keepAliveEvery = 2 * time.Minute

// Listen binds all addresses and begins to serve. Requests that arrive before Handle was called get 503.
func Listen(opt Options) (*Endpoint, error) {
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	if opt.ListenPacket == nil {
		opt.ListenPacket = net.ListenPacket
	}
	if opt.KeepAlive == 0 {
		opt.KeepAlive = keepAliveEvery
	}
	e := &Endpoint{
		log: opt.Log, parser: newParser(), agent: opt.UserAgent, tls: opt.TLS, keepAlive: opt.KeepAlive, listenPacket: opt.ListenPacket,
		letters: sync.Pool{New: func() any { return new(letter) }}, streams: map[*link]struct{}{}, known: map[streamKey]*link{},
	}
	e.resolver.server, e.resolver.patience, e.load.all = opt.DNS, dnsPatience, opt.ServeAll
	e.table.open()
	e.table.silent = func(mark string) { e.silences.unanswered(mark, time.Now()) }
	e.standIns, e.origins = opt.StandIns, opt.Origins
	e.stopped, e.stop = context.WithCancel(context.Background())
	for _, l := range opt.Listen {
		if err := e.bind(l); err != nil {
			_ = e.Close()
			return nil, fmt.Errorf("listen %s: %w", l, err)
		}
	}
	return e, nil
}

func (e *Endpoint) bind(listen string) error {
	network, hostport, _ := strings.Cut(listen, ":")
	switch network {
	case "udp":
		s, err := e.openSocket(hostport)
		if err != nil {
			return err
		}
		e.addrs = append(e.addrs, Addr{network, s.conn.LocalAddr().String()})
		return nil
	case "tcp", "ws":
	case "tls", "wss":
		if e.tls.certificate() == nil {
			return errors.New("needs a certificate")
		}
	default:
		return errors.New("the network must be udp, tcp, tls, ws or wss, as in udp:127.0.0.1:5080")
	}
	tcp, err := net.Listen("tcp", hostport)
	if err != nil {
		return err
	}
	ln := &door{tcp, &e.places}
	e.addrs = append(e.addrs, Addr{network, ln.Addr().String()})
	e.listeners = append(e.listeners, ln)
	e.running.Go(func() { // ends when Close closes the listener
		var err error
		switch network {
		case "tcp":
			err = e.accept(ln, network, nil)
		case "tls":
			err = e.accept(ln, network, e.tls.server())
		case "ws":
			err = e.acceptWS(ln, network)
		case "wss":
			err = e.acceptWS(tls.NewListener(ln, e.tls.server("http/1.1")), network)
		}
		if !e.closed.Load() {
			e.log.Error("sip listener stopped", "listen", listen, "error", err)
		}
	})
	return nil
}

// begin counts one more who reads or opens something, who calls running.Done in the end. false: Close has begun.
func (e *Endpoint) begin() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed.Load() {
		return false
	}
	e.running.Add(1)
	return true
}

// Addrs lists the bound addresses in the order of Options.Listen.
func (e *Endpoint) Addrs() []Addr { return e.addrs }

// Handle sets the function that takes each new request, ACK for 2xx included. It runs on a goroutine of its
// own; for an INVITE it must not return before a final response was sent.
func (e *Endpoint) Handle(h func(*Transaction)) { e.handler.Store(&h) }

// serve runs on a fresh goroutine for each request that isn't a retransmission; number is the one that admit gave it.
func (e *Endpoint) serve(req *sip.Request, tx *serverTx, came time.Time, number uint32) {
	defer tx.leave()
	now := time.Now()
	t := &Transaction{Request: req, Tag: req.Laddr.Hostname, tx: tx, endpoint: e, waited: now.Sub(came)}
	e.load.noteWait(number, t.waited, now)
	if req.Method != sip.INVITE {
		e.load.hold(1)
		defer e.load.hold(-1)
	}
	// A panic here would end the process, since nobody waits for the goroutine.
	defer func() {
		if p := recover(); p != nil {
			e.log.Error("sip handler panicked", "method", req.Method, "panic", p, "stack", string(debug.Stack()))
			if !req.IsAck() && !t.final.Load() {
				_ = t.Respond(500, "Server Internal Error")
			}
		}
	}()
	h := e.handler.Load()
	if h == nil || e.closed.Load() {
		if !req.IsAck() {
			_ = t.Respond(503, "Service Unavailable", sip.NewHeader("Retry-After", "5"))
		}
		return
	}
	(*h)(t)
}

// Close stops the listeners, drops all transactions and closes all connections; none is open when it returns. It is idempotent.
func (e *Endpoint) Close() error {
	e.mu.Lock()
	if e.closed.Swap(true) {
		e.mu.Unlock()
		return nil
	}
	// From here on nothing is opened: begin, openSocket and newStream look at closed under the lock.
	sockets, streams := slices.Clone(e.sockets), slices.Collect(maps.Keys(e.streams))
	e.mu.Unlock()
	e.stop()
	var err error
	for _, ln := range e.listeners {
		if cerr := ln.Close(); !errors.Is(cerr, net.ErrClosed) {
			err = errors.Join(err, cerr)
		}
	}
	e.table.close()
	for _, s := range streams {
		s.end()
	}
	for _, s := range sockets {
		if cerr := s.conn.Close(); !errors.Is(cerr, net.ErrClosed) {
			err = errors.Join(err, cerr)
		}
	}
	e.running.Wait()
	return err
}

// choose gives an INVITE that opens a dialog its To tag, so that all responses have the same one, the transaction's own
// 487 for a CANCEL included (RFC 3261 §8.2.6.2). Once a transaction has the request, nobody may change it.
// Laddr is for requests that are sent; in this one it tells what was chosen.
func choose(req *sip.Request) {
	if req.Method != sip.INVITE || req.To() == nil || req.To().Params.GetOr("tag", "") != "" {
		return
	}
	req.Laddr.Hostname = NewToken()
	req.To().Params.Add("tag", req.Laddr.Hostname)
}

// untag takes the tag that choose has given out of a 100, which opens no dialog (RFC 3261 §17.2.1).
func untag(res *sip.Response, req *sip.Request) *sip.Response {
	if res.StatusCode == 100 && req.Laddr.Hostname != "" && res.To() != nil {
		res.To().Params.Remove("tag")
	}
	return res
}

// Contact is the URI under which the endpoint is reached by way of hop: the listener of hop's
// transport, the first one if there is none. user may be empty.
func (e *Endpoint) Contact(user string, hop sip.Uri) sip.Uri {
	network, to := transportOf(hop), netip.Addr{}
	if ip, err := netip.ParseAddr(unbracket(hop.Host)); err == nil {
		to = ip.Unmap()
	} else if hop.Host != "" && !madeUp(hop.Host) {
		ctx, cancel := context.WithTimeout(context.Background(), e.resolver.patience)
		defer cancel()
		if all, err := e.targets(ctx, hop, ""); err == nil {
			network, to = all[0].network, all[0].addr.Addr()
		}
	}
	a := e.listener(network, to)
	host, port := e.reachable(a, to)
	u := sip.Uri{Scheme: "sip", User: user, Host: bracket(host), Port: port, UriParams: sip.NewParams()}
	switch {
	case hop.Scheme == "sips" && (a.Network == "tls" || a.Network == "wss"):
		u.Scheme = "sips" // RFC 3261 §8.1.1.8
		if a.Network == "wss" {
			u.UriParams.Add("transport", "ws")
		}
	case a.Network == "wss":
		u.UriParams.Add("transport", "ws") // RFC 7118 §5.2 knows no other
	case a.Network != "udp":
		u.UriParams.Add("transport", a.Network)
	}
	return u
}

// reachable is a listener's host and port for peers in the direction of an address. A listener on all addresses
// has none of its own to tell; the one that leads there stands for it.
func (e *Endpoint) reachable(a Addr, to netip.Addr) (host string, port int) {
	host, port = splitHostPort(a.HostPort)
	if ip, err := netip.ParseAddr(host); err != nil || !ip.IsUnspecified() || !to.IsValid() {
		return host, port
	}
	if from := sourceTo(to); from.IsValid() {
		host = from.String()
	}
	return host, port
}

// listener is the bound address for a transport in the direction of an address, or the first one.
func (e *Endpoint) listener(network string, to netip.Addr) Addr {
	var fit []Addr
	for _, a := range e.addrs {
		if a.Network != network {
			continue
		}
		host, _ := splitHostPort(a.HostPort)
		ip, err := netip.ParseAddr(host)
		if err == nil && (!to.IsValid() || ip.Is4() == to.Is4() || ip == netip.IPv6Unspecified()) {
			fit = append(fit, a)
		}
	}
	switch {
	case len(fit) == 1 || len(fit) > 1 && !to.IsValid():
		return fit[0]
	case len(fit) > 1:
		from := sourceTo(to)
		for _, a := range fit {
			if host, _ := splitHostPort(a.HostPort); host == from.String() {
				return a
			}
		}
		return fit[0]
	case to.IsValid():
		return e.listener(network, netip.Addr{})
	case len(e.addrs) == 0:
		return Addr{"udp", "127.0.0.1:5060"}
	}
	return e.addrs[0]
}

func (e *Endpoint) has(network string) bool {
	return slices.ContainsFunc(e.addrs, func(a Addr) bool { return a.Network == network })
}

// transportOf is the URI's transport, udp by default, tls for sips (RFC 3263 §4.1).
func transportOf(u sip.Uri) string {
	network, _ := transport(u)
	return cmp.Or(network, "udp")
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
	case errors.Is(err, ErrTimeout):
		return err
	case errors.Is(err, sip.ErrTransactionTimeout), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%w: %w", ErrTimeout, err)
	case errors.Is(err, context.Canceled), errors.Is(err, ErrTransport):
		return err
	}
	return fmt.Errorf("%w: %w", ErrTransport, err)
}
