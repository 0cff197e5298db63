package sipua

import (
	"bytes"
	"fmt"
	"hash/maphash"
	"math"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"
)

// The control law of overload (B2.12, F64). What is measured is how long requests wait for a processor after they came, how many wait,
// and how many are begun in a second. Where even the luckiest request of an interval waited long, the queue stands: from then on, new work
// that would wait longer than target is refused before sipgo sees it. A burst alone has lucky ones, so it is served.
const (
	lawInterval   = 100 * time.Millisecond
	lawTarget     = 100 * time.Millisecond // RFC 3261's first repeat comes after 500 ms
	lawSamples    = 8                      // fewer say nothing, unless time goes by
	lawPatience   = 5 * lawInterval
	lawCalm       = 3                // intervals without a queue that end the law's rule
	lawAsks       = 0.25             // share of what can be done that is kept for questions
	maxServing    = 4096             // requests other than INVITE in the hands of rooms
	remember      = 32 * time.Second // 64*T1: a repeat is no new work (§17.2)
	maxRemembered = 1 << 18          // in each half of that time
	ocValidity    = 500 * time.Millisecond
	askAgain      = "2" // seconds, as Retry-After
)

// load decides what is let in, and counts what is in hand. Its zero value lets everything in.
type load struct {
	all bool // let in and out, whatever is measured

	mu       sync.Mutex
	begun    time.Time // of the interval
	samples  int       // requests that began in it
	asks     int       // questions that were let in in it
	least    time.Duration
	asked    float64   // new requests in it, as many as there would be if nobody held back
	last     time.Time // when one began
	standing bool      // the law rules
	streak   int       // intervals in a row that speak against standing
	rate     float64   // requests that begin in a second while others wait
	loss     float64   // share that neighbours shall hold back
	in, out  uint32    // how many were let in, and the number of the latest that began, both wrap
	seq      int64     // of oc-seq
	serving  int       // requests other than INVITE in the rooms
	refused  map[Shed]uint64
	told     uint64 // feedbacks that asked for less
	waits    uint64
	waitSum  time.Duration
	waited   [len(waitBounds)]uint64 // up to each bound
	admitted [2]map[uint64]struct{}
	turned   time.Time // when admitted was
}

// class is what a request is worth when not all can be served.
type class int

const (
	classKept   class = iota - 1 // in a dialog, or an emergency: never refused
	classAsks                    // asks how somebody is: cheap where we know it, see Transaction.Shed for where we don't
	classNormal                  // opens something
	classLow                     // can wait: REGISTER, SUBSCRIBE, PUBLISH
)

// worth sorts a request: local policy as RFC 7339 §5.10.1 wants it.
func worth(method string, within bool, priority bool, target string) class {
	switch method {
	case "ACK", "CANCEL", "BYE", "PRACK", "UPDATE":
		return classKept
	}
	if within || priority || emergency(target) {
		return classKept
	}
	switch method {
	case "OPTIONS":
		return classAsks
	case "REGISTER", "SUBSCRIBE", "PUBLISH":
		return classLow
	}
	return classNormal
}

// emergency reports whether a target is the SOS service or a part of it, as sos.fire (RFC 5031 §4.2).
func emergency(target string) bool {
	const sos = "urn:service:sos"
	return len(target) >= len(sos) && strings.EqualFold(target[:len(sos)], sos) && (len(target) == len(sos) || target[len(sos)] == '.')
}

// Emergency reports whether a request is for the emergency service: it goes on towards those who help, and is never shed.
func Emergency(req *sip.Request) bool {
	return req.Recipient.Scheme == "urn" && emergency(req.Recipient.String())
}

var loadSeed = maphash.MakeSeed()

// verdict is an answer by return under overload: a refusal with Retry-After, or with what the neighbour's Via is told, or the 200 of a ping.
type verdict struct {
	alive bool
	retry bool
	told  [][2]string
}

// admit decides about a request that is right; nil lets it in, with the number of the latest that was let in.
func (d *load) admit(l *letter, now time.Time) *verdict {
	raw, top, _ := l.topVia()
	to, _ := readAddress(l.get(kindTo))
	within := false
	params(to.params, func(name, _ []byte) { within = within || bytes.EqualFold(name, []byte("tag")) })
	c := worth(string(l.method), within, l.get(kindPriority) != nil, string(l.target))
	heeds := heedsOC(top)

	d.mu.Lock()
	defer d.mu.Unlock()
	d.turn(now)
	key := d.key(l, raw)
	l.number = d.in
	if d.knows(key) {
		return nil
	}
	if heeds {
		d.asked += 1 / (1 - min(d.loss, 0.99))
	} else {
		d.asked++
	}
	waited := time.Duration(0) // in the socket
	if !l.came.IsZero() {
		waited = now.Sub(l.came)
	}
	if d.all || c == classKept || !d.shed(c, heeds, waited) {
		d.admitted[0][key] = struct{}{}
		if c == classAsks {
			d.asks++
		}
		if !bytes.Equal(l.method, []byte("ACK")) && !bytes.Equal(l.method, []byte("CANCEL")) { // which may never begin
			d.in++
			l.number = d.in
		}
		return nil
	}
	if l.pings() { // who is told 503 would send all to others (B2.14)
		v := &verdict{alive: true}
		if heeds {
			v.told = d.feedback()
		}
		return v
	}
	reason := "queue"
	if d.serving >= maxServing {
		reason = "full"
	}
	d.refuse(string(l.method), reason)
	if heeds {
		// It is told by oc, which Retry-After would contradict; it has been told before, and too much came all the same.
		return &verdict{told: d.feedback()}
	}
	return &verdict{retry: true}
}

// shed reports whether a request of a class that has waited for so long to be read is one too many.
func (d *load) shed(c class, heeds bool, waited time.Duration) bool {
	if d.serving >= maxServing {
		return true
	}
	if !d.standing || d.rate == 0 {
		return false
	}
	limit := lawTarget
	switch {
	case heeds, c == classAsks && float64(d.asks) < lawAsks*d.rate*lawInterval.Seconds(): // who heeds holds back by itself
		limit *= 4
	case c == classLow:
		limit /= 2
	}
	return waited+time.Duration(float64(d.waiting())/d.rate*float64(time.Second)) > limit
}

// refuse counts a refusal. d.mu is held.
func (d *load) refuse(method, reason string) {
	if d.refused == nil {
		d.refused = map[Shed]uint64{}
	}
	d.refused[Shed{methodLabel(method), reason}]++
}

// late reports whether a request that was let in can wait, and has done so for too long; it is counted as refused then.
func (d *load) late(method string, heeds bool, waited time.Duration) bool {
	limit := lawTarget / 2
	if heeds {
		limit = 4 * lawTarget
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.all || !d.standing || waited <= limit {
		return false
	}
	d.refuse(method, "queue")
	return true
}

// waiting is how many were let in after the latest that began.
func (d *load) waiting() uint32 { return d.in - d.out }

// key tells repeats from new work (§17.2.3).
func (d *load) key(l *letter, via []byte) uint64 {
	var h maphash.Hash
	h.SetSeed(loadSeed)
	_, _ = h.Write(via)
	_, _ = h.Write(l.get(kindCSeq))
	_, _ = h.Write(l.get(kindCallID))
	return h.Sum64()
}

func (d *load) knows(key uint64) bool {
	_, now := d.admitted[0][key]
	_, before := d.admitted[1][key]
	return now || before
}

// noteWait takes a measurement: how long the request of a number waited until its goroutine ran.
func (d *load) noteWait(number uint32, wait time.Duration, now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.turn(now)
	if d.samples == 0 || wait < d.least {
		d.least = wait
	}
	d.samples++
	d.last = now
	d.waits, d.waitSum = d.waits+1, d.waitSum+wait
	for i, bound := range waitBounds {
		if wait <= bound {
			d.waited[i]++
			break
		}
	}
	if ahead := number - d.out; ahead <= d.waiting() {
		d.out = number
	}
}

// hold counts a request other than INVITE in and out of the rooms.
func (d *load) hold(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.serving += n
}

// turn ends the interval if it is over. d.mu is held.
func (d *load) turn(now time.Time) {
	if d.admitted[0] == nil {
		d.begun, d.turned = now, now
		d.admitted[0] = map[uint64]struct{}{}
	}
	if now.Sub(d.turned) >= remember || len(d.admitted[0]) >= maxRemembered {
		d.admitted[0], d.admitted[1] = map[uint64]struct{}{}, d.admitted[0]
		d.turned = now
	}
	if d.standing && d.waiting() == 0 && now.Sub(d.last) > lawCalm*lawInterval {
		d.standing, d.streak, d.loss = false, 0, 0 // nothing has come
	}
	gone := now.Sub(d.begun)
	if gone < lawInterval || d.samples < lawSamples && gone < lawPatience {
		return
	}
	if queued := d.samples > 0 && d.least > lawTarget; queued != d.standing && (!d.standing || d.least < lawTarget/4) {
		d.streak++
	} else {
		d.streak = 0
	}
	if begins := float64(d.samples) / gone.Seconds(); d.rate == 0 || begins > d.rate {
		d.rate = begins
	} else if d.in != d.out {
		d.rate += (begins - d.rate) * 0.3
	}
	if !d.standing && d.streak == 2 || d.standing && d.streak == lawCalm {
		d.standing, d.streak = !d.standing, 0
	}
	want := 0.0
	if asked := d.asked / gone.Seconds(); d.standing && asked > d.rate {
		want = 1 - d.rate/asked
	}
	if d.loss += (want - d.loss) / 2; d.loss < 0.005 {
		d.loss = 0
	}
	d.begun, d.samples, d.least, d.asked, d.asks = now, 0, 0, 0, 0
	d.seq++
}

// heedsOC reports whether the neighbour whose Via this is cuts down when asked (RFC 7339 §4.1, §5.1).
func heedsOC(top via) bool {
	if _, has := top.param("oc"); !has {
		return false
	}
	algo, _ := top.param("oc-algo")
	for a := range bytes.SplitSeq(bytes.Trim(algo, `"`), []byte(",")) {
		if bytes.EqualFold(trim(a), []byte("loss")) {
			return true
		}
	}
	return false
}

// asksOC is heedsOC of a Via that sipgo has read, and that nothing was written into.
func asksOC(top *sip.ViaHeader) bool {
	if v, has := top.Params.Get("oc"); !has || v != "" {
		return false
	}
	algo, _ := top.Params.Get("oc-algo")
	return heedsOC(via{params: []byte(";oc;oc-algo=" + algo)})
}

// feedback are the values of the Via parameters that tell a neighbour how much less to send (RFC 7339 §4, §5.2). d.mu is held.
func (d *load) feedback() [][2]string {
	percent := d.percent()
	if percent > 0 {
		d.told++
	}
	validity := strconv.FormatInt(ocValidity.Milliseconds(), 10)
	if percent == 0 {
		validity = "0" // §5.7: no control at all
	}
	return [][2]string{{"oc", strconv.Itoa(percent)}, {"oc-algo", `"loss"`}, {"oc-validity", validity}, {"oc-seq", fmt.Sprintf("%d.%05d", born+d.seq/1e5, d.seq%1e5)}}
}

// percent is the share to hold back. d.mu is held.
func (d *load) percent() int { return int(math.Ceil(d.loss * 100)) }

// born makes oc-seq grow over restarts. Behind its point five digits at most may stand (§9), and d.seq is slower than time.
var born = time.Now().Unix()

// tell writes feedback into a response's Via.
func (e *Endpoint) tell(res *sip.Response) {
	top := res.Via()
	if top == nil {
		return
	}
	if !asksOC(top) {
		return
	}
	e.load.mu.Lock()
	defer e.load.mu.Unlock()
	e.load.turn(time.Now())
	for _, p := range e.load.feedback() {
		top.Params.Add(p[0], p[1])
	}
}
