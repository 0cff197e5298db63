package imstest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	t1 = 500 * time.Millisecond
	t2 = 4 * time.Second
)

// source is where a message came from and how to answer it.
type source struct {
	network string
	addr    string
	conn    net.Conn // of TCP
}

// node is a SIP element on one UDP and one TCP port with the same number. Requests reach
// handle in the order in which they came, on the reader's goroutine, so handle must not block.
type node struct {
	log    *slog.Logger
	udp    net.PacketConn
	tcp    net.Listener
	addr   string
	handle func(*Message, source)

	mu      sync.Mutex
	clients map[string]*clientTx // by branch and method
	servers map[string]*serverTx
	conns   map[string]net.Conn   // by the other end's address, the newest
	open    map[net.Conn]struct{} // all of them
	closed  bool
	wrong   []string

	running sync.WaitGroup
	done    chan struct{}
}

// clientTx is a request that was sent (RFC 3261 §17.1).
type clientTx struct {
	responses chan *Message // buffered; never closed
	seen      chan struct{} // closed at the first response
	final     chan struct{} // closed at a final response
	onceSeen  sync.Once
	once      sync.Once
	to        source // where the request went
}

// serverTx remembers the last response for repeats of a request.
type serverTx struct {
	last  *Message
	acked chan struct{} // closed at the ACK of a refusal
	once  sync.Once
	src   source
}

// newNode binds the ports; start begins to read.
func newNode(listen string, log *slog.Logger) (*node, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	n := &node{
		log: log, clients: map[string]*clientTx{}, servers: map[string]*serverTx{}, conns: map[string]net.Conn{}, open: map[net.Conn]struct{}{}, done: make(chan struct{}),
	}
	var err error
	for range 20 { // a free port must be free for both
		if n.udp, err = net.ListenPacket("udp", listen); err != nil {
			return nil, err
		}
		n.addr = n.udp.LocalAddr().String()
		if n.tcp, err = net.Listen("tcp", n.addr); err == nil {
			break
		}
		n.udp.Close()
	}
	if err != nil {
		return nil, err
	}
	return n, nil
}

func (n *node) start(handle func(*Message, source)) {
	n.handle = handle
	n.running.Go(n.readUDP)
	n.running.Go(n.accept)
}

func (n *node) close() {
	n.mu.Lock()
	if n.closed {
		n.mu.Unlock()
		return
	}
	n.closed = true
	close(n.done)
	for c := range n.open {
		c.Close()
	}
	n.mu.Unlock()
	n.udp.Close()
	n.tcp.Close()
	n.running.Wait()
}

// spawn runs f on a goroutine that close waits for. f ends when done is closed.
func (n *node) spawn(f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.closed {
		n.running.Go(f)
	}
}

// violation notes a broken rule of the other side.
func (n *node) violation(format string, args ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.wrong = append(n.wrong, fmt.Sprintf(format, args...))
}

// Violations lists what the other side did against the specifications.
func (n *node) Violations() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]string{}, n.wrong...)
}

func (n *node) readUDP() {
	buf := make([]byte, 65535)
	for {
		l, from, err := n.udp.ReadFrom(buf)
		if err != nil {
			return
		}
		if len(bytes.TrimSpace(buf[:l])) == 0 {
			continue
		}
		m, err := readDatagram(buf[:l])
		if err != nil {
			n.violation("a datagram of %d bytes is no SIP message: %v", l, err)
			continue
		}
		if m.Method != "" && l > 1300 {
			n.violation("%s of %d bytes came over UDP (RFC 3261 §18.1.1)", m.Method, l)
		}
		n.take(m, source{network: "udp", addr: from.String()})
	}
}

func (n *node) accept() {
	for {
		c, err := n.tcp.Accept()
		if err != nil {
			return
		}
		n.serveConn(c)
	}
}

func (n *node) serveConn(c net.Conn) {
	n.mu.Lock()
	if n.closed {
		n.mu.Unlock()
		c.Close()
		return
	}
	addr := c.RemoteAddr().String()
	n.conns[addr] = c
	n.open[c] = struct{}{}
	n.mu.Unlock()
	n.running.Go(func() {
		defer func() {
			c.Close()
			n.mu.Lock()
			delete(n.open, c)
			if n.conns[addr] == c {
				delete(n.conns, addr)
			}
			n.mu.Unlock()
		}()
		r := bufio.NewReader(c)
		for {
			m, err := readMessage(r)
			if err != nil {
				if errors.Is(err, errSIP) {
					n.violation("what came over TCP is no SIP message")
				}
				return
			}
			if m.Get("Content-Length") == "" {
				n.violation("%s%d over TCP without Content-Length (RFC 3261 §18.3)", m.Method, m.Status)
				return // what follows can't be found
			}
			n.take(m, source{network: "tcp", addr: addr, conn: c})
		}
	})
}

// take gives a message to its transaction or to the element.
func (n *node) take(m *Message, src source) {
	branch := param(firstOf(m, "Via"), "branch")
	if m.Method == "" {
		cseq := strings.Fields(m.Get("CSeq"))
		if len(cseq) < 2 {
			n.violation("response without CSeq")
			return
		}
		n.mu.Lock()
		tx := n.clients[branch+" "+cseq[1]]
		n.mu.Unlock()
		if tx == nil {
			n.log.Debug("response without request", "status", m.Status, "cseq", m.Get("CSeq"))
		}
		if tx != nil {
			tx.onceSeen.Do(func() { close(tx.seen) })
			if m.Status >= 200 {
				tx.once.Do(func() { close(tx.final) })
			}
			select {
			case tx.responses <- m:
			default:
			}
		}
		return
	}
	n.check(m)
	m.stamp(src)
	if m.Method == "ACK" {
		if n.acked(m, branch) {
			return
		}
		n.handle(m, src)
		return
	}
	key := branch + " " + m.Method
	n.mu.Lock()
	if tx := n.servers[key]; tx != nil { // RFC 3261 §17.2: a repeat gets the last answer again
		last := tx.last
		n.mu.Unlock()
		if last != nil {
			_ = n.write(last, src)
		}
		return
	}
	n.servers[key] = &serverTx{src: src, acked: make(chan struct{})}
	n.mu.Unlock()
	n.handle(m, src)
}

// acked takes the ACK of a refusal, which belongs to its INVITE's transaction (RFC 3261 §17.2.1).
func (n *node) acked(ack *Message, branch string) bool {
	n.mu.Lock()
	tx := n.servers[branch+" INVITE"]
	var last *Message
	if tx != nil {
		last = tx.last
	}
	n.mu.Unlock()
	if last == nil || last.Status < 300 {
		return false
	}
	tx.once.Do(func() { close(tx.acked) })
	if number(ack) != number(last) {
		n.violation("ACK with CSeq %q for the refusal of %q", ack.Get("CSeq"), last.Get("CSeq"))
	}
	if param(ack.Get("To"), "tag") != param(last.Get("To"), "tag") {
		n.violation("ACK of a refusal with To %q, not %q (RFC 3261 §17.1.1.3)", ack.Get("To"), last.Get("To"))
	}
	return true
}

// number is the sequence number of CSeq.
func number(m *Message) int {
	num, _, _ := strings.Cut(m.Get("CSeq"), " ")
	v, err := strconv.ParseUint(num, 10, 31)
	if err != nil {
		return -1
	}
	return int(v)
}

func firstOf(m *Message, name string) string {
	if all := m.All(name); len(all) > 0 {
		return all[0]
	}
	return ""
}

// check notes what a request lacks (RFC 3261 §8.1.1).
func (n *node) check(m *Message) {
	for _, f := range []string{"Via", "From", "To", "Call-ID", "CSeq", "Max-Forwards"} {
		if m.Get(f) == "" {
			n.violation("%s without %s", m.Method, f)
		}
	}
	if c := strings.Fields(m.Get("CSeq")); len(c) != 2 || c[1] != m.Method || number(m) < 0 {
		n.violation("%s with CSeq %q", m.Method, m.Get("CSeq"))
	}
	if param(m.Get("From"), "tag") == "" {
		n.violation("%s: From without tag", m.Method)
	}
	if !strings.HasPrefix(param(firstOf(m, "Via"), "branch"), "z9hG4bK") {
		n.violation("%s: Via branch without the magic cookie", m.Method)
	}
	if hops, err := strconv.Atoi(m.Get("Max-Forwards")); m.Get("Max-Forwards") != "" && (err != nil || hops < 0 || hops > 255) {
		n.violation("%s with Max-Forwards %q", m.Method, m.Get("Max-Forwards"))
	}
	if m.Method == "INVITE" && len(m.All("Contact")) != 1 {
		n.violation("INVITE with %d Contacts (RFC 3261 §8.1.1.8)", len(m.All("Contact")))
	}
	if m.Method == "MESSAGE" && m.Get("Contact") != "" {
		n.violation("MESSAGE with Contact (RFC 3428 §4)")
	}
	if len(m.Body) > 0 && m.Get("Content-Type") == "" {
		n.violation("%s: body without Content-Type", m.Method)
	}
}

func (n *node) write(m *Message, to source) error {
	if to.network == "tcp" {
		c := to.conn
		if c == nil {
			n.mu.Lock()
			c = n.conns[to.addr]
			n.mu.Unlock()
		}
		if c == nil {
			var err error
			if c, err = net.DialTimeout("tcp", to.addr, 3*time.Second); err != nil {
				return err
			}
			n.serveConn(c)
		}
		_, err := c.Write(m.Bytes())
		return err
	}
	a, err := net.ResolveUDPAddr("udp", to.addr)
	if err != nil {
		return err
	}
	_, err = n.udp.WriteTo(m.Bytes(), a)
	return err
}

// via is a fresh Via of this node.
func (n *node) via(network, branch string) string {
	return fmt.Sprintf("SIP/2.0/%s %s;branch=%s;rport", strings.ToUpper(network), n.addr, branch)
}

// widen changes a request that is too long for UDP to TCP, where the next hop listens there (RFC 3261 §18.1.1).
func (n *node) widen(m *Message, to source) source {
	if to.network != "udp" || len(m.Bytes()) <= 1100 { // a Via is still to come
		return to
	}
	n.mu.Lock()
	c := n.conns[to.addr]
	n.mu.Unlock()
	if c == nil {
		var err error
		if c, err = net.DialTimeout("tcp", to.addr, 3*time.Second); err != nil {
			return to
		}
		n.serveConn(c)
	}
	return source{network: "tcp", addr: to.addr}
}

// respond sends a response to a request along its Via.
func (n *node) respond(req *Message, src source, res *Message) {
	key := param(firstOf(req, "Via"), "branch") + " " + req.Method
	n.mu.Lock()
	tx := n.servers[key]
	refusal := false
	if tx != nil {
		if res.Status >= 200 && (tx.last == nil || tx.last.Status < 200) {
			refusal = req.Method == "INVITE" && res.Status >= 300
			time.AfterFunc(64*t1, func() { // timers H, J and L: repeats no longer come
				n.mu.Lock()
				delete(n.servers, key)
				n.mu.Unlock()
			})
		}
		tx.last = res
	}
	n.mu.Unlock()
	if err := n.write(res, src); err != nil {
		n.log.Debug("response not sent", "error", err)
	}
	if refusal {
		n.spawn(func() { n.repeatRefusal(tx, res) })
	}
}

// repeatRefusal repeats a refusal of an INVITE over UDP until its ACK comes (RFC 3261 §17.2.1).
func (n *node) repeatRefusal(tx *serverTx, res *Message) {
	for wait, begin := t1, time.Now(); ; wait = min(2*wait, t2) {
		select {
		case <-tx.acked:
			return
		case <-n.done:
			return
		case <-time.After(wait):
		}
		if time.Since(begin) > 64*t1 {
			n.violation("no ACK for the %d of %s", res.Status, res.Get("Call-ID"))
			return
		}
		if tx.src.network == "udp" {
			_ = n.write(res, tx.src)
		}
	}
}

// reply makes a response to a request.
func reply(req *Message, code int, reason, toTag string) *Message {
	res := &Message{Status: code, Reason: reason}
	for _, f := range req.Fields {
		switch strings.ToLower(f.Name) {
		case "via", "from", "call-id", "cseq":
			res.Add(f.Name, f.Value)
		case "to":
			v := f.Value
			if code > 100 && param(v, "tag") == "" && toTag != "" {
				v += ";tag=" + toTag
			}
			res.Add(f.Name, v)
		case "record-route":
			if code > 100 && code < 300 && req.Method == "INVITE" {
				res.Add(f.Name, f.Value)
			}
		}
	}
	return res
}

// send starts a client transaction: m gets a Via on top, leaves before send returns, and is
// repeated over UDP until a response. Where it can't be sent, the response is a 503 (RFC 3261 §8.1.3.1).
func (n *node) send(ctx context.Context, m *Message, to source, branch string) *clientTx {
	if branch == "" {
		branch = "z9hG4bK" + token()
	}
	to = n.widen(m, to)
	m.Push("Via", n.via(to.network, branch))
	tx := &clientTx{responses: make(chan *Message, 64), seen: make(chan struct{}), final: make(chan struct{}), to: to}
	key := branch + " " + m.Method
	n.mu.Lock()
	n.clients[key] = tx
	n.mu.Unlock()
	forget := func() { // late repeats of a response still find it for a while
		time.AfterFunc(64*t1, func() {
			n.mu.Lock()
			delete(n.clients, key)
			n.mu.Unlock()
		})
	}
	if err := n.write(m, to); err != nil {
		tx.onceSeen.Do(func() { close(tx.seen) })
		tx.once.Do(func() { close(tx.final) })
		tx.responses <- reply(m, 503, "Transport Failure", token())
		forget()
		return tx
	}
	n.spawn(func() {
		defer forget()
		n.repeat(ctx, tx, m, to)
	})
	return tx
}

// repeat sends a request again over UDP: an INVITE until any response, others until the final one (RFC 3261 §17.1).
func (n *node) repeat(ctx context.Context, tx *clientTx, m *Message, to source) {
	stop := tx.final
	if m.Method == "INVITE" {
		stop = tx.seen
	}
	for wait, begin := t1, time.Now(); ; wait = min(2*wait, t2) {
		select {
		case <-stop:
			if m.Method != "INVITE" {
				return
			}
			select { // its responses are wanted for as long as it is open
			case <-tx.final:
			case <-n.done:
			}
			return
		case <-ctx.Done():
			return
		case <-n.done:
			return
		case <-time.After(wait):
		}
		if time.Since(begin) >= 64*t1 {
			return
		}
		if to.network == "udp" {
			_ = n.write(m, to)
		}
	}
}

var errNoAnswer = errors.New("no answer")

// do sends a request and waits for its final response.
func (n *node) do(ctx context.Context, m *Message, to source) (*Message, error) {
	tx := n.send(ctx, m, to, "")
	for {
		select {
		case res := <-tx.responses:
			if res.Status >= 200 {
				return res, nil
			}
		case <-ctx.Done():
			return nil, fmt.Errorf("%s: %w: %w", m.Method, errNoAnswer, ctx.Err())
		case <-n.done:
			return nil, errNoAnswer
		case <-time.After(64 * t1):
			return nil, fmt.Errorf("%s: %w", m.Method, errNoAnswer)
		}
	}
}
