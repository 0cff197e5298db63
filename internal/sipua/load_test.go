package sipua

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
)

// model is a server that works off a queue, as fast as it can, on a clock of its own.
type model struct {
	t       *testing.T
	d       load
	now     time.Time
	cost    time.Duration // of a request that is served; a refusal costs a twentieth
	queue   []waiting     // arrivals that wait
	n       int
	free    time.Time // when the server is done with what it does
	served  int
	refused map[string]int // by method
	begun   map[string]int // by method
	waits   []time.Duration
}

type waiting struct {
	since  time.Time
	number uint32
	method string
}

func newModel(t *testing.T, perSecond int) *model {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	return &model{t: t, now: start, free: start, cost: time.Second / time.Duration(perSecond), refused: map[string]int{}, begun: map[string]int{}}
}

// letterFor is a request that is right.
func letterFor(t *testing.T, text string) *letter {
	t.Helper()
	var l letter
	if !l.cut([]byte(text)) {
		t.Fatalf("%q is no message", text)
	}
	if code, why := l.check(true); code != 0 {
		t.Fatalf("%q: %d %s", text, code, why)
	}
	return &l
}

// offer lets one request arrive.
func (m *model) offer(text string) (in bool) {
	m.t.Helper()
	l := letterFor(m.t, text)
	if m.d.admit(l, m.now) != nil {
		m.refused[strings.Fields(text)[0]]++
		m.free = later(m.free, m.now).Add(m.cost / 20)
		return false
	}
	m.queue = append(m.queue, waiting{m.now, l.number, string(l.method)})
	return true
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// work serves until now.
func (m *model) work() {
	for len(m.queue) > 0 {
		begins := later(m.free, m.queue[0].since)
		if begins.After(m.now) {
			return
		}
		wait := begins.Sub(m.queue[0].since)
		m.d.noteWait(m.queue[0].number, wait, begins)
		m.waits = append(m.waits, wait)
		m.begun[m.queue[0].method]++
		m.queue, m.free = m.queue[1:], begins.Add(m.cost)
		m.served++
	}
}

// run offers so many INVITEs a second for so long; each tenth request is a BYE.
func (m *model) run(perSecond int, d time.Duration) {
	m.served, m.waits = 0, nil
	for end := m.now.Add(d); m.now.Before(end); m.now = m.now.Add(time.Second / time.Duration(perSecond)) {
		m.work()
		m.n++
		method := "INVITE"
		if m.n%10 == 0 {
			method = "BYE"
		}
		if !m.offer(ask1(method, m.n, "")) && method == "BYE" {
			m.t.Fatal("a BYE is refused")
		}
	}
}

// ask1 is a request; via are more parameters.
func ask1(method string, n int, via string, fields ...string) string {
	to := "<sip:b@guest.example>"
	if method == "BYE" {
		to += ";tag=b"
	}
	return fmt.Sprintf("%s sip:b@guest.example SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK%d%s\r\nFrom: <sip:a@cc.com>;tag=a\r\nTo: %s\r\nCall-ID: %d\r\nContact: <sip:a@192.0.2.1>\r\nCSeq: 1 %s\r\n%s\r\n",
		method, n, via, to, n, method, strings.Join(append(fields, ""), "\r\n"))
}

// F64, B2.12: at three times what it can do, a server still does at least 80 % of it, those that it takes wait less than 500 ms, what belongs to
// a call is never refused, and when the load is gone nobody is refused after five seconds.
func TestOverloadIsShed(t *testing.T) {
	for _, capacity := range []int{50, 1000} {
		m := newModel(t, capacity)
		m.run(capacity*9/10, 5*time.Second)
		if len(m.refused) > 0 {
			t.Errorf("%d/s: below its capacity it refuses %v", capacity, m.refused)
		}
		m.run(3*capacity, 5*time.Second) // it finds its way
		m.run(3*capacity, 20*time.Second)
		if least := capacity * 20 * 8 / 10; m.served < least {
			t.Errorf("%d/s: it serves %d in 20 s, want at least %d", capacity, m.served, least)
		}
		slices.Sort(m.waits)
		if p99 := m.waits[len(m.waits)*99/100]; p99 > 500*time.Millisecond {
			t.Errorf("%d/s: of 100 that it takes, one waits %v", capacity, p99)
		}
		m.run(capacity/2, 5*time.Second)
		clear(m.refused)
		m.run(capacity/2, 5*time.Second)
		if len(m.refused) > 0 {
			t.Errorf("%d/s: five seconds after it, it refuses %v", capacity, m.refused)
		}
	}
}

// B2.12, F64: when calls are too many, OPTIONS are answered; when OPTIONS are too many, calls go on. Each tenth of so many times the capacity is another.
func TestQuestionsAndCallsLeaveRoomForEachOther(t *testing.T) {
	const capacity = 1000
	for _, c := range []struct {
		many, few string
		refused   float64 // of the few, at most
	}{{"INVITE", "OPTIONS", 0.01}, {"OPTIONS", "INVITE", 0.8}} {
		m := newModel(t, capacity)
		storm := func(d time.Duration) {
			clear(m.refused)
			clear(m.begun)
			m.waits = nil
			for end := m.now.Add(d); m.now.Before(end); m.now = m.now.Add(time.Second / (2 * capacity)) {
				m.work()
				m.n++
				method := c.many
				if m.n%10 == 0 {
					method = c.few
				}
				m.offer(ask1(method, m.n, ""))
			}
		}
		storm(5 * time.Second)
		storm(8 * time.Second)
		slices.Sort(m.waits)
		p99 := m.waits[len(m.waits)*99/100]
		if refused := float64(m.refused[c.few]) / float64(m.refused[c.few]+m.begun[c.few]); refused > c.refused || p99 > 500*time.Millisecond {
			t.Errorf("of few %s among many %s %.3f are refused; of 100 one waits %v", c.few, c.many, refused, p99)
		}
	}
}

// F64: a hundred calls at once are a burst, not an overload.
func TestBurstIsServed(t *testing.T) {
	m := newModel(t, 200)
	for range 20 {
		for range 100 {
			m.n++
			m.offer(ask1("INVITE", m.n, ""))
		}
		m.now = m.now.Add(time.Second)
		m.work()
	}
	if m.served != 2000 || len(m.refused) > 0 {
		t.Errorf("%d served, refused %v", m.served, m.refused)
	}
}

// standing is a load whose queue makes new requests wait.
func standing(wait time.Duration, now time.Time) *load {
	d := &load{standing: true, rate: 1000, in: uint32(wait / time.Millisecond), begun: now.Add(time.Hour), turned: now}
	d.admitted[0] = map[uint64]struct{}{}
	return d
}

// B2.12, F64: who is refused, and how it is said: Retry-After or oc, never both.
func TestWhoIsShed(t *testing.T) {
	now := time.Now()
	for _, c := range []struct {
		name, method, via string
		fields            []string
		limit             time.Duration // of the queue, above which it is refused; 0: never
		retry             bool
	}{
		{"INVITE", "INVITE", "", nil, lawTarget, true},
		{"MESSAGE", "MESSAGE", "", nil, lawTarget, true},
		{"OPTIONS", "OPTIONS", "", nil, 4 * lawTarget, true},
		{"REGISTER goes first", "REGISTER", "", nil, lawTarget / 2, true},
		{"BYE", "BYE", "", nil, 0, false},
		{"ACK", "ACK", "", nil, 0, false},
		{"CANCEL", "CANCEL", "", nil, 0, false},
		{"Resource-Priority", "INVITE", "", []string{"Resource-Priority: ets.0"}, 0, false},
		{"who heeds oc", "INVITE", `;oc;oc-algo="loss"`, nil, 4 * lawTarget, false},
		{"who heeds another", "INVITE", `;oc;oc-algo="rate"`, nil, lawTarget, true},
	} {
		for _, wait := range []time.Duration{0, 49, 52, 99, 102, 399, 402, 5000} {
			wait *= time.Millisecond
			no := standing(wait, now).admit(letterFor(t, ask1(c.method, 1, c.via, c.fields...)), now)
			if refused := no != nil; refused != (c.limit > 0 && wait > c.limit) || refused && (c.retry != no.retry || c.retry == (len(no.told) > 0)) {
				t.Errorf("%s with a queue of %v: %+v", c.name, wait, no)
			}
		}
	}
	late := letterFor(t, ask1("INVITE", 2, ""))
	if late.came = now.Add(-lawTarget); standing(time.Millisecond, now).admit(late, now) == nil {
		t.Error("what has waited too long in the socket is let in")
	}
	d := standing(time.Minute, now)
	if d.standing = false; d.shed(classNormal, false, time.Minute) {
		t.Error("a queue that doesn't stand is shed")
	}
	d = &load{}
	d.hold(maxServing)
	d.all = true // Options.ServeAll
	if d.admit(letterFor(t, ask1("INVITE", 7, "")), now) != nil {
		t.Error("who serves all refuses")
	}
	d.all = false
	if d.admit(letterFor(t, ask1("INVITE", 1, "")), now) == nil {
		t.Error("with all hands full it is let in")
	}
	if worth("INVITE", false, false, "URN:service:sos.fire") != classKept {
		t.Error("an emergency can be refused")
	}
}

// B2.12, F64: what was let in for it may be cheap is refused by who finds that it is not, as soon as what can wait is, and only under overload.
func TestRoomShedsWhatMakesWorkForOthers(t *testing.T) {
	t.Parallel()
	p := newPeer(t, true)
	var wait atomic.Int64
	e := listenLawfully(t, func(tx *Transaction) {
		if tx.waited = time.Duration(wait.Load()); !tx.Shed() {
			_ = tx.Respond(200, "")
		}
	})
	const oc = `;oc;oc-algo="loss"`
	for i, c := range []struct {
		name     string
		standing bool
		waited   time.Duration
		via      string
		field    string
		code     string
		retry    bool
	}{
		{"no overload", false, time.Second, "", "", "200", false},
		{"soon", true, lawTarget / 2, "", "", "200", false},
		{"late", true, lawTarget/2 + 1, "", "", "503", true},
		{"who heeds oc", true, 4 * lawTarget, oc, "", "200", false},
		{"who heeds oc, late", true, 4*lawTarget + 1, oc, "", "503", false},
		{"Resource-Priority", true, time.Second, "", "Resource-Priority: ets.0\r\n", "200", false},
	} {
		wait.Store(int64(c.waited))
		e.load.mu.Lock()
		e.load.standing, e.load.begun, e.load.last = c.standing, time.Now().Add(time.Hour), time.Now().Add(time.Hour)
		e.load.mu.Unlock()
		before := e.Overload().Shed[Shed{"OPTIONS", "queue"}]
		id := fmt.Sprint("work", i)
		p.send("udp", e, strings.Replace(p.options(id, "Via: SIP/2.0/UDP "+p.addr+";branch=z9hG4bK"+id+c.via+";rport"), "CSeq:", c.field+"CSeq:", 1))
		a := p.fresh().text
		if !strings.HasPrefix(a, "SIP/2.0 "+c.code+" ") || (get(a, "Retry-After") != "") != c.retry || strings.Contains(get(a, "Via"), "oc=") != (c.via != "") {
			t.Errorf("%s:\n%s", c.name, a)
		}
		if counted := e.Overload().Shed[Shed{"OPTIONS", "queue"}] - before; (counted == 1) != (c.code == "503") {
			t.Errorf("%s: %d are counted", c.name, counted)
		}
	}
}

// RFC 7339 §5.2, §5.3: what neighbours are told is the share of what they would send that is too much, also while they hold back.
func TestNeighboursAreToldTheExcess(t *testing.T) {
	for _, told := range []bool{false, true} {
		now := time.Now()
		d := standing(0, now)
		d.begun = now
		for range 30 {
			for i := range 100 { // 1,000 begin in a second, after 110 ms
				d.noteWait(uint32(i), 110*time.Millisecond, now)
			}
			d.asked = 300
			if told { // they send what they are asked to, and count as if they didn't
				d.asked = 300 * (1 - d.loss) / (1 - d.loss)
			}
			now = now.Add(lawInterval)
			d.turn(now)
		}
		if d.loss < 0.64 || d.loss > 0.69 {
			t.Errorf("at 3 times the capacity they are told to hold back %.2f", d.loss)
		}
		for range 40 {
			now = now.Add(lawInterval)
			d.noteWait(0, 0, now)
		}
		if told := d.feedback(); told[0][1] != "0" {
			t.Errorf("4 s after it they are told %v", told)
		}
	}
}

// RFC 3261 §17.2: what was taken is no new work when it comes again.
func TestRepeatIsNotShed(t *testing.T) {
	now := time.Now()
	var d load
	if d.admit(letterFor(t, ask1("INVITE", 1, "")), now) != nil {
		t.Fatal("refused")
	}
	for _, wait := range []time.Duration{0, remember / 2, remember} {
		d.hold(maxServing)
		if d.admit(letterFor(t, ask1("INVITE", 1, "")), now.Add(wait)) != nil {
			t.Errorf("after %v the repeat is refused", wait)
		}
		if d.admit(letterFor(t, ask1("INVITE", 2, "")), now.Add(wait)) == nil {
			t.Errorf("after %v another one is not", wait)
		}
	}
	for i := range 4 {
		d.admit(letterFor(t, ask1("BYE", 100+i, "")), now.Add(time.Duration(i+3)*remember))
	}
	if n := len(d.admitted[0]) + len(d.admitted[1]); n > 2 {
		t.Errorf("%d are remembered for ever", n)
	}
}

// B2.12, RFC 7339 §5.1, §5.2, §5.7: who says that it heeds oc is told in each response, 0 where all is well.
func TestResponsesTellTheLoad(t *testing.T) {
	t.Parallel()
	p := newPeer(t, true)
	e := listenLawfully(t, func(tx *Transaction) { _ = tx.Respond(200, "") })
	e.load.mu.Lock() // nothing but what this test says
	e.load.begun, e.load.turned, e.load.admitted[0] = time.Now().Add(time.Hour), time.Now(), map[uint64]struct{}{}
	e.load.mu.Unlock()
	ask := func(id, more string) string {
		p.send("udp", e, p.options(id, "Via: SIP/2.0/UDP "+p.addr+";branch=z9hG4bK"+id+more+";rport"))
		return get(p.fresh().text, "Via")
	}
	if v := ask("none", ""); strings.Contains(v, "oc") {
		t.Errorf("who doesn't ask gets %q", v)
	}
	if v := ask("rate", `;oc;oc-algo="rate"`); strings.Contains(v, "oc=") {
		t.Errorf("who heeds another algorithm gets %q", v)
	}
	if v := ask("well", `;oc;oc-algo="loss,rate"`); !strings.Contains(v, ";oc=0;") || !strings.Contains(v, `;oc-algo="loss"`) || !strings.Contains(v, ";oc-validity=0") || !strings.Contains(v, ";oc-seq=") {
		t.Errorf("without overload it is told %q", v)
	}
	e.load.mu.Lock()
	e.load.loss = 0.5
	e.load.mu.Unlock()
	// §9: up to 12 digits and up to 5, and more with time, for as long as we run.
	seqForm := regexp.MustCompile(`^\d{1,12}\.\d{1,5}$`)
	var before float64
	for _, n := range []int64{0, 9, 10, 99999, 100000, 12345678} {
		d := load{seq: n}
		seq := d.feedback()[3][1]
		if v, err := strconv.ParseFloat(seq, 64); err != nil || v <= before || !seqForm.MatchString(seq) {
			t.Errorf("oc-seq %s after %f", seq, before)
		} else {
			before = v
		}
	}
	if v := ask("ill", `;oc;oc-algo="loss"`); !strings.Contains(v, ";oc=50;") || !strings.Contains(v, ";oc-validity=500") {
		t.Errorf("with overload it is told %q", v)
	}
	e.load.hold(maxServing)
	p.send("udp", e, p.options("shed"))
	if a := p.fresh(); !strings.HasPrefix(a.text, "SIP/2.0 503 ") || get(a.text, "Retry-After") == "" || strings.Contains(get(a.text, "Via"), "oc") {
		t.Errorf("who doesn't ask gets\n%s", a.text)
	}
	p.send("udp", e, p.options("told", "Via: SIP/2.0/UDP "+p.addr+`;branch=z9hG4bKtold;oc;oc-algo="loss";rport`))
	if a := p.fresh(); !strings.HasPrefix(a.text, "SIP/2.0 503 ") || get(a.text, "Retry-After") != "" || !strings.Contains(get(a.text, "Via"), ";oc=50;") {
		t.Errorf("who does gets\n%s", a.text)
	}
}

// B2.12, RFC 7339 §5.4-5.7: the core is heeded: new requests are held back by the share that it says, until it says otherwise or its word is old.
func TestNextHopIsHeeded(t *testing.T) {
	var n neighbours
	now := time.Now()
	const core, other = "192.0.2.9:5060", "192.0.2.10:5060"
	req := func(method sip.RequestMethod, tag string) *sip.Request {
		r, err := NewRequest(method, "sip:b@guest.example", "sip:a@cc.com", "sip:b@guest.example")
		if err != nil {
			t.Fatal(err)
		}
		if tag != "" {
			r.To().Params.Add("tag", tag)
		}
		return r
	}
	says := func(params string) {
		text := answer("OPTIONS sip:x SIP/2.0\r\nVia: SIP/2.0/UDP h;branch="+n.mark(core)+NewToken()+";"+params+"\r\nFrom: <sip:a@cc.com>;tag=1\r\nTo: <sip:b@cc.com>\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\n", "200 OK")
		m, err := newParser().ParseSIP([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		n.hear(m.(*sip.Response), now)
	}
	passing := func(to string, r *sip.Request) (passed int) {
		for range 100 {
			if n.allows(to, r, now) {
				passed++
			}
		}
		return passed
	}
	check := func(when string, want int) {
		t.Helper()
		if got := passing(core, req("INVITE", "")); got < want-1 || got > want+1 {
			t.Errorf("%s: %d of 100 go out, want %d", when, got, want)
		}
	}
	check("before", 100)
	says(`oc=30;oc-algo="loss";oc-validity=1000;oc-seq=5.0`)
	check("oc=30", 70)
	if got := passing(other, req("INVITE", "")); got != 100 {
		t.Errorf("to another %d of 100 go out", got)
	}
	if got := passing(core, req("BYE", "x")) + passing(core, req("INFO", "x")); got != 200 {
		t.Errorf("of what belongs to calls %d of 200 go out", got)
	}
	n.known[n.mark(core)].due = 0
	says(`oc=90;oc-algo="loss";oc-validity=1000;oc-seq=4.9`)
	check("stale", 70)
	says(`oc=90;oc-algo="rate";oc-validity=1000;oc-seq=6.0`)
	says(`oc=900;oc-seq=6.0`)
	says(`oc;oc-algo="loss"`)
	check("what can't be heeded", 70)
	says(`oc=100;oc-algo="loss";oc-validity=1000;oc-seq=6.1`)
	check("oc=100", 0)
	says(`oc=100;oc-algo="loss";oc-validity=0;oc-seq=6.2`)
	check("over", 100)
	says(`oc=50;oc-algo="loss";oc-seq=6.3`)
	check("oc=50", 50)
	now = now.Add(ocValidity)
	check("old", 100)
}

// B2.12: the same on the wire: a request says that oc is heeded, and the answer counts for what comes next.
func TestAnswerHoldsBackWhatComesNext(t *testing.T) {
	t.Parallel()
	p := newPeer(t, true)
	e := listenLawfully(t, nil)
	go func() { // ends with the answer
		a := <-p.in
		via := get(a.text, "Via")
		if !strings.Contains(via, `;oc;oc-algo="loss"`) {
			t.Errorf("Via = %q", via)
		}
		a.reply(strings.Replace(answer(a.text, "200 OK"), ";oc;oc-algo", ";oc=100;oc-seq=1.1;oc-validity=60000;oc-algo", 1))
	}()
	if _, err := e.Do(bounded(t), request(t, p, "")); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Do(bounded(t), request(t, p, "")); err == nil || !strings.Contains(err.Error(), "overloaded") {
		t.Errorf("the next one: %v", err)
	}
}
