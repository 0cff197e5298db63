package b2bua

import (
	"context"
	"flag"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"latchkey/imstest"
	"latchkey/internal/leaktest"
	"latchkey/internal/sipua"
)

// patience is how long a test waits for what must come.
const patience = time.Minute

// Timers of an engine under test: repeats come soon, but a slow machine is no silent peer: what is over is known for as long as anybody
// here waits. Only where the end of patience is the thing to see it comes early.
var (
	patient   = timers{500 * time.Millisecond, 400 * time.Millisecond}
	impatient = timers{100 * time.Millisecond, 200 * time.Millisecond}
)

func TestMain(m *testing.M) {
	// The same for the transactions, before anything reads their timers.
	sip.SetTimers(100*time.Millisecond, 400*time.Millisecond, 500*time.Millisecond)
	sip.Timer_B, sip.Timer_F = 16*time.Second, 16*time.Second
	for _, t := range []*time.Duration{&sip.Timer_D, &sip.Timer_H, &sip.Timer_J, &sip.Timer_L, &sip.Timer_M} {
		*t = 32 * time.Second
	}
	flag.Parse()
	_ = flag.Set("test.parallel", "24") // most of the time the tests wait for timers
	leaktest.Main(m, patience)
}

// wire is the other side: SIP as text on sockets, without any code of the product.
type wire struct {
	*imstest.Wire
	t    *testing.T
	addr string

	mu      sync.Mutex
	arrived []*text
	seen    map[string]bool // what expect has returned; the same once more is a repeat
	auto    bool            // answer all requests with 200
	more    chan struct{}   // closed and replaced by each arrival
}

// text is one message.
type text struct {
	raw, first, body string
	lines            []string
	reply            func(string)
}

func newWire(t *testing.T) *wire {
	t.Helper()
	on, err := imstest.ListenWire(nil)
	if err != nil {
		t.Fatal(err)
	}
	w := reads(t, on)
	t.Cleanup(w.Close)
	return w
}

// newWireOn is a wire with datagrams only.
func newWireOn(t *testing.T, conn net.PacketConn) *wire { return reads(t, &imstest.Wire{UDP: conn}) }

func reads(t *testing.T, on *imstest.Wire) *wire {
	w := &wire{Wire: on, t: t, addr: on.UDP.LocalAddr().String(), seen: map[string]bool{}, more: make(chan struct{})}
	on.Take = w.take
	on.Read()
	return w
}

func (w *wire) take(a imstest.Writing) {
	head, body, _ := strings.Cut(a.Text, "\r\n\r\n")
	lines := strings.Split(head, "\r\n")
	m := &text{raw: a.Text, first: lines[0], lines: lines[1:], body: body, reply: a.Answer}
	w.mu.Lock()
	auto := w.auto && m.code() == 0
	if !auto {
		w.arrived = append(w.arrived, m)
	}
	close(w.more)
	w.more = make(chan struct{})
	w.mu.Unlock()
	if auto && !m.is("ACK") {
		m.answer("200 OK", "auto", "", "Contact: <sip:a@"+w.addr+";transport="+strings.ToLower(m.get("Via")[8:11])+">")
	}
}

// get is the value of the first field called name.
func (m *text) get(name string) string {
	if all := m.all(name); len(all) > 0 {
		return all[0]
	}
	return ""
}

func (m *text) all(name string) []string {
	var all []string
	for _, l := range m.lines {
		if n, v, _ := strings.Cut(l, ": "); n == name {
			all = append(all, v)
		}
	}
	return all
}

func (m *text) code() int {
	if !strings.HasPrefix(m.first, "SIP/2.0 ") {
		return 0
	}
	n, _ := strconv.Atoi(strings.Fields(m.first)[1])
	return n
}

func (m *text) uri() string { return strings.Fields(m.first)[1] }

func (m *text) seq() int {
	n, _ := strconv.Atoi(strings.Fields(m.get("CSeq"))[0])
	return n
}

func (m *text) method() string { return strings.Fields(m.get("CSeq"))[1] }

func (m *text) branch() string { return param(m.get("Via"), "branch") }

func param(v, name string) string {
	_, rest, found := strings.Cut(v, ";"+name+"=")
	if !found {
		return ""
	}
	return rest[:strings.IndexAny(rest+";", ";>, ")]
}

// inside is what stands in angle brackets.
func inside(v string) string {
	_, rest, _ := strings.Cut(v, "<")
	uri, _, _ := strings.Cut(rest, ">")
	return uri
}

// is compares with "METHOD" for a request and with "CODE METHOD" for a response.
func (m *text) is(what string) bool {
	if m.code() == 0 {
		return m.method() == what
	}
	return fmt.Sprint(m.code(), " ", m.method()) == what
}

// pick takes the first message for which f says yes, and waits for it.
func (w *wire) pick(what string, f func(*text) bool) *text {
	w.t.Helper()
	deadline := time.After(patience)
	for {
		w.mu.Lock()
		if i := slices.IndexFunc(w.arrived, f); i >= 0 {
			m := w.arrived[i]
			w.arrived = slices.Delete(w.arrived, i, i+1)
			w.seen[m.raw] = true
			w.mu.Unlock()
			return m
		}
		var have []string
		for _, m := range w.arrived[max(0, len(w.arrived)-8):] {
			have = append(have, m.first)
		}
		more := w.more
		w.mu.Unlock()
		select {
		case <-more:
		case <-deadline:
			w.t.Fatalf("no %s; there were %q", what, have)
		}
	}
}

// expect waits for a message that was not there before.
func (w *wire) expect(what string) *text {
	w.t.Helper()
	return w.pick(what, func(m *text) bool { return m.is(what) && !w.seen[m.raw] })
}

// again waits for a repeat.
func (w *wire) again(m *text) {
	w.t.Helper()
	w.pick("repeat of "+m.first, func(n *text) bool { return n.raw == m.raw })
}

// unread lists what came and is neither read nor a repeat nor a 100.
func (w *wire) unread() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []string
	for _, m := range w.arrived {
		if !w.seen[m.raw] && m.code() != 100 {
			all = append(all, m.first+" CSeq "+m.get("CSeq"))
		}
	}
	return all
}

// silent checks that nothing new has come: a later message has made its way by now.
func (w *wire) silent() {
	w.t.Helper()
	if all := w.unread(); len(all) > 0 {
		w.t.Errorf("there came %q, too", all)
	}
}

// forget drops the repeats that came so far.
func (w *wire) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.arrived = slices.DeleteFunc(w.arrived, func(m *text) bool { return w.seen[m.raw] })
}

// answer sends a response with the fields that RFC 3261 §8.2.6.2 wants.
func (m *text) answer(status, tag, body string, fields ...string) {
	m.reply(m.response(status, tag, body, fields...))
}

func (m *text) response(status, tag, body string, fields ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "SIP/2.0 %s\r\n", status)
	for _, l := range m.lines {
		switch name, _, _ := strings.Cut(l, ":"); name {
		case "To":
			if tag != "" && !strings.Contains(l, ";tag=") {
				l += ";tag=" + tag
			}
			fallthrough
		case "Via", "From", "Call-ID", "CSeq":
			b.WriteString(l + "\r\n")
		}
	}
	return finish(&b, body, fields)
}

func finish(b *strings.Builder, body string, fields []string) string {
	for _, f := range fields {
		b.WriteString(f + "\r\n")
	}
	if body != "" && !strings.Contains(b.String(), "\r\nContent-Type: ") {
		b.WriteString("Content-Type: application/sdp\r\n")
	}
	fmt.Fprintf(b, "Content-Length: %d\r\n\r\n%s", len(body), body)
	return b.String()
}

// talk is a dialog as the other side sees it.
type talk struct {
	w             *wire
	out           func(string)
	network       string
	callID        string
	local, remote string // From and To of its requests, with tags
	target        string
	seq           int
	invited       string // the INVITE sent last
}

var branches = struct {
	sync.Mutex
	n int
}{}

// text writes a request without sending it.
func (d *talk) text(method string, seq int, body string, fields ...string) string {
	branches.Lock()
	branches.n++
	branch := branches.n
	branches.Unlock()
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s SIP/2.0\r\nVia: SIP/2.0/%s %s;branch=z9hG4bKw%d;rport\r\nMax-Forwards: 70\r\nFrom: %s\r\nTo: %s\r\nCall-ID: %s\r\nCSeq: %d %s\r\n",
		method, d.target, strings.ToUpper(d.network), d.w.addr, branch, d.local, d.remote, d.callID, seq, method)
	if !slices.ContainsFunc(fields, func(f string) bool { return strings.HasPrefix(f, "Contact:") }) && (method == "INVITE" || method == "UPDATE") {
		fmt.Fprintf(&b, "Contact: <%s>\r\n", d.contact())
	}
	return finish(&b, body, fields)
}

func (d *talk) contact() string { return fmt.Sprintf("sip:a@%s;transport=%s", d.w.addr, d.network) }

// send sends the next request.
func (d *talk) send(method, body string, fields ...string) {
	if method != "ACK" {
		d.seq++
	}
	text := d.text(method, d.seq, body, fields...)
	if method == "INVITE" {
		d.invited = text
	}
	d.out(text)
}

// ask sends the next request and returns its final response. Datagrams get lost under load, so over UDP
// it repeats as a client does.
func (d *talk) ask(method, body string, fields ...string) *text {
	d.w.t.Helper()
	d.seq++
	text := d.text(method, d.seq, body, fields...)
	d.out(text)
	defer d.repeating(text)()
	return d.final(method, d.seq)
}

// repeating sends a request again over UDP until what it returns is called.
func (d *talk) repeating(text string) (stop func()) {
	if d.network != "udp" {
		return func() {}
	}
	answered, over := make(chan struct{}), make(chan struct{})
	go func() { // ends by stop
		defer close(over)
		for wait := time.Second; ; wait = min(2*wait, 4*time.Second) {
			select {
			case <-answered:
				return
			case <-time.After(wait):
				d.out(text)
			}
		}
	}()
	return func() { close(answered); <-over }
}

// final waits for the final response to a request.
func (d *talk) final(method string, seq int) *text {
	d.w.t.Helper()
	return d.w.pick(fmt.Sprintf("answer to %d %s", seq, method), func(m *text) bool {
		return m.code() >= 200 && m.method() == method && m.seq() == seq && m.get("Call-ID") == d.callID && !d.w.seen[m.raw]
	})
}

// side is the engine under test with a wire for its peer, which is also its core.
type side struct {
	t       *testing.T
	w       *wire
	ua      *sipua.Endpoint
	engine  *Engine
	network string
	calls   chan *Incoming // what ServeInvite got
	let     chan struct{}  // closed at the end: ServeInvite may return
}

// ServeInvite hands the call to the test and stays until it is decided.
func (s *side) ServeInvite(in *Incoming) {
	s.calls <- in
	for {
		in.mu.Lock()
		over := in.final
		in.mu.Unlock()
		if over || in.ctx.Err() != nil {
			return
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-s.let:
			return
		}
	}
}

func newSide(t *testing.T, network string) *side { return newSideWith(t, network, patient) }

func newSideWith(t *testing.T, network string, ts timers) *side {
	t.Helper()
	s := &side{t: t, w: newWire(t), network: network, calls: make(chan *Incoming, 64), let: make(chan struct{})}
	var err error
	if s.ua, err = sipua.Listen(sipua.Options{Listen: []string{"udp:127.0.0.1:0", "tcp:127.0.0.1:0"}, UserAgent: "Latchkey", ServeAll: true}); err != nil {
		t.Fatal(err)
	}
	s.engine = New(s.ua, Options{Core: "sip:" + s.w.addr + ";transport=" + network, Trusted: []string{"127.0.0.1"}})
	s.engine.timers = ts
	s.ua.Handle(s.engine.serve) // anew: what it reads was written before
	s.engine.Handle(s)
	t.Cleanup(func() {
		s.w.silent()
		s.w.mu.Lock()
		s.w.auto = true
		s.w.mu.Unlock()
		close(s.let)
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := s.engine.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown = %v", err)
		}
		if err := s.ua.Close(); err != nil {
			t.Errorf("Close = %v", err)
		}
		s.engine.running.Wait()
	})
	return s
}

// both runs a test over UDP and TCP.
func both(t *testing.T, f func(t *testing.T, s *side)) { bothWith(t, patient, f) }

func bothWith(t *testing.T, ts timers, f func(t *testing.T, s *side)) {
	for _, network := range []string{"udp", "tcp"} {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			f(t, newSideWith(t, network, ts))
		})
	}
}

func ctxOf(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

const (
	offer1  = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nm=message 9 TCP/MSRP *\r\n"
	offer2  = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nm=message 10 TCP/MSRP *\r\n"
	answer1 = "v=0\r\no=- 7 1 IN IP4 127.0.0.1\r\ns=-\r\nm=message 11 TCP/MSRP *\r\n"
	answer2 = "v=0\r\no=- 7 2 IN IP4 127.0.0.1\r\ns=-\r\nm=message 12 TCP/MSRP *\r\n"
)

func invite() Invite {
	return Invite{From: "sip:b@guest.example", To: "sip:a@cc.com", ContentType: "application/sdp", Body: []byte(offer1)}
}

// ring is a Call under way.
type ring struct {
	leave context.CancelFunc
	leg   *Leg
	err   error
	over  chan struct{}
}

func (s *side) call(inv Invite) *ring {
	ctx, leave := context.WithCancel(ctxOf(s.t))
	r := &ring{leave: leave, over: make(chan struct{})}
	go func() { // ends with the call
		defer close(r.over)
		r.leg, r.err = s.engine.Call(ctx, inv)
	}()
	return r
}

func (r *ring) wait(t *testing.T) (*Leg, error) {
	t.Helper()
	select {
	case <-r.over:
	case <-time.After(patience):
		t.Fatal("Call does not return")
	}
	return r.leg, r.err
}

func (s *side) contact() string {
	return "Contact: <sip:a@" + s.w.addr + ";transport=" + s.network + ">"
}

// called is a standing dialog that we opened, and the peer's view of it.
func (s *side) called(inv Invite) (*Leg, *talk) {
	s.t.Helper()
	r := s.call(inv)
	m := s.w.expect("INVITE")
	m.answer("200 OK", "a1", answer1, s.contact())
	ack := s.w.expect("ACK")
	leg, err := r.wait(s.t)
	if err != nil {
		s.t.Fatalf("Call = %v", err)
	}
	return leg, s.talkOf(m, "a1", ack.reply)
}

// talkOf is the called peer's view of a dialog.
func (s *side) talkOf(m *text, tag string, out func(string)) *talk {
	return &talk{
		w: s.w, out: out, network: s.network, callID: m.get("Call-ID"), local: m.get("To") + ";tag=" + tag, remote: m.get("From"),
		target: inside(m.get("Contact")), seq: 100,
	}
}

// caller is a peer that calls us.
func (s *side) caller(callID string) *talk { return s.callerOn(s.w, callID) }

// callerOn is a peer with sockets of its own.
func (s *side) callerOn(w *wire, callID string) *talk {
	s.t.Helper()
	d := &talk{w: w, network: s.network, callID: strings.ReplaceAll(callID, " ", "-"), local: "<sip:a@cc.com>;tag=caller", remote: "<sip:b@guest.example>"}
	for _, a := range s.ua.Addrs() {
		if a.Network != s.network {
			continue
		}
		d.target = "sip:b@" + a.HostPort
		if s.network == "tcp" {
			conn, err := net.Dial("tcp", a.HostPort)
			if err != nil {
				s.t.Fatal(err)
			}
			w.Add(conn)
			d.out = func(text string) { _, _ = conn.Write([]byte(text)) }
			return d
		}
		to, err := net.ResolveUDPAddr("udp", a.HostPort)
		if err != nil {
			s.t.Fatal(err)
		}
		d.out = func(text string) { _, _ = w.UDP.WriteTo([]byte(text), to) }
	}
	return d
}

// incoming waits for a call that reaches the handler.
func (s *side) incoming() *Incoming {
	s.t.Helper()
	select {
	case in := <-s.calls:
		return in
	case <-time.After(patience):
		s.t.Fatal("no call arrives")
	}
	return nil
}

// pickup is an Answer under way.
type pickup struct {
	leg  *Leg
	err  error
	over chan struct{}
}

func pick(ctx context.Context, in *Incoming, opt AnswerOptions) *pickup {
	p := &pickup{over: make(chan struct{})}
	go func() { // ends with the ACK, or without one after 64*T1
		defer close(p.over)
		p.leg, p.err = in.Answer(ctx, opt)
	}()
	return p
}

func (p *pickup) wait(t *testing.T) (*Leg, error) {
	t.Helper()
	select {
	case <-p.over:
	case <-time.After(patience):
		t.Fatal("Answer does not return")
	}
	return p.leg, p.err
}

// opened makes d the dialog that a response of ours opens.
func (d *talk) opened(res *text) {
	d.remote = res.get("To")
	if c := inside(res.get("Contact")); c != "" {
		d.target = c
	}
}

// answered is a standing dialog that the peer opened.
func (s *side) answered(callID string, opt AnswerOptions) (*Leg, *talk) {
	s.t.Helper()
	d := s.caller(callID)
	d.send("INVITE", offer1)
	opt.ContentType, opt.Body = "application/sdp", []byte(answer1)
	p := pick(ctxOf(s.t), s.incoming(), opt)
	d.opened(d.final("INVITE", d.seq))
	d.send("ACK", "")
	leg, err := p.wait(s.t)
	if err != nil {
		s.t.Fatalf("Answer = %v", err)
	}
	return leg, d
}

// ended waits for a leg's end.
func ended(t *testing.T, l *Leg, cause string) {
	t.Helper()
	select {
	case <-l.Done():
	case <-time.After(patience):
		t.Fatal("the leg does not end")
	}
	if l.Cause() != cause {
		t.Errorf("Cause = %q, want %q", l.Cause(), cause)
	}
}

// bye runs Bye beside the test.
func bye(l *Leg) <-chan error {
	done := make(chan error, 1)
	go func() { done <- l.Bye(context.Background(), "") }() // ends with the answer
	return done
}
