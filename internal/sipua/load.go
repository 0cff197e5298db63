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

// The control law of overload (B2.12, F64). What is measured is how long a request waits for a processor after it was read: where even the
// luckiest request of an interval waited longer than target, the queue stands, and a share of new work is refused before sipgo sees it.
// A burst alone has lucky ones, so it is served.
const (
	lawInterval = 100 * time.Millisecond
	lawTarget   = 100 * time.Millisecond // RFC 3261's first repeat comes after 500 ms
	lawSamples  = 8                      // fewer say nothing, unless time goes by
	lawPatience = 5 * lawInterval
	maxLoss     = 0.95
	maxServing  = 4096             // requests other than INVITE in the hands of rooms
	remember    = 32 * time.Second // 64*T1: a repeat is no new work (§17.2)
	ocValidity  = 500 * time.Millisecond
	retryAfter  = "Retry-After: 2"
)

// load decides what is let in, and counts what is in hand. Its zero value lets everything in.
type load struct {
	mu       sync.Mutex
	begun    time.Time // of the interval
	samples  int
	least    time.Duration // delay of the luckiest request
	over     int           // intervals in a row with a standing queue
	severe   bool          // a queue that even those who heed oc make
	loss     float64       // share of new work that is refused
	due      [2]float64    // refusals owed, by class
	seq      int64         // of oc-seq
	serving  int           // requests other than INVITE in the rooms
	refused  uint64        // since the start
	admitted [2]map[uint64]struct{}
	turned   time.Time // when admitted was
}

// class is what a request is worth when not all can be served.
type class int

const (
	classKept   class = iota - 1 // in a dialog, or an emergency: never refused
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
	case "REGISTER", "SUBSCRIBE", "PUBLISH":
		return classLow
	}
	return classNormal
}

// emergency reports whether a target is the SOS service (RFC 5031).
func emergency(target string) bool {
	const sos = "urn:service:sos"
	return len(target) >= len(sos) && strings.EqualFold(target[:len(sos)], sos)
}

var loadSeed = maphash.MakeSeed()

// admit decides about a request that is right. A code other than 0 is a refusal, with fields.
func (d *load) admit(l *letter, now time.Time) (code int, reason string, more []string) {
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
	if c == classKept || d.knows(key) || !d.shed(c, heeds) {
		d.admitted[0][key] = struct{}{}
		return 0, "", nil
	}
	d.refused++
	if heeds {
		// It is told by oc, which Retry-After would contradict; it has been told before, and too much came all the same.
		return 503, "Service Unavailable", nil
	}
	return 503, "Service Unavailable", []string{retryAfter}
}

// shed reports whether a request of a class is one too many.
func (d *load) shed(c class, heeds bool) bool {
	if d.serving >= maxServing {
		return true
	}
	loss := d.loss
	if heeds && !d.severe {
		return false // it cuts down by itself
	}
	if c == classLow {
		loss = min(1, 2*loss)
	}
	d.due[c] += loss
	if d.due[c] < 1 {
		return false
	}
	d.due[c]--
	return true
}

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

// noteWait takes a measurement: how long a request waited until its goroutine ran.
func (d *load) noteWait(wait time.Duration, now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.turn(now)
	if d.samples == 0 || wait < d.least {
		d.least = wait
	}
	d.samples++
}

// hold counts a request other than INVITE in and out of the rooms.
func (d *load) hold(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.serving += n
}

// turn ends intervals that are over. d.mu is held.
func (d *load) turn(now time.Time) {
	if d.begun.IsZero() {
		d.begun, d.turned = now, now
		d.admitted[0] = map[uint64]struct{}{}
	}
	if now.Sub(d.turned) >= remember {
		d.admitted[0], d.admitted[1] = map[uint64]struct{}{}, d.admitted[0]
		d.turned = now
	}
	for {
		gone := now.Sub(d.begun)
		if gone < lawInterval || d.samples > 0 && d.samples < lawSamples && gone < lawPatience {
			return
		}
		standing := d.samples > 0 && d.least > lawTarget
		d.severe = standing && d.least > 4*lawTarget
		d.over++
		switch {
		case !standing:
			d.over = 0
			d.loss = max(0, d.loss*0.85-0.01)
		case d.over > 1:
			d.loss = min(maxLoss, d.loss+0.05+0.1*min(1, float64(d.least-lawTarget)/float64(4*lawTarget)))
		}
		if d.loss == 0 && gone > lawPatience {
			d.begun = now // a quiet time needs no steps
		} else if d.samples > 0 {
			d.begun = now
		} else {
			d.begun = d.begun.Add(lawInterval)
		}
		d.samples, d.least = 0, 0
		d.seq++
	}
}

// shedding is the share of new work that is refused, in percent.
func (d *load) shedding(now time.Time) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.turn(now)
	return int(math.Ceil(d.loss * 100))
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

// feedback are the values of the Via parameters that tell a neighbour how much less to send (RFC 7339 §4, §5.2).
func (d *load) feedback(now time.Time) [][2]string {
	percent := d.shedding(now)
	validity := strconv.FormatInt(ocValidity.Milliseconds(), 10)
	if percent == 0 {
		validity = "0" // §5.7: no control at all
	}
	d.mu.Lock()
	seq := d.seq
	d.mu.Unlock()
	return [][2]string{{"oc", strconv.Itoa(percent)}, {"oc-algo", `"loss"`}, {"oc-validity", validity}, {"oc-seq", fmt.Sprintf("%d.%d", born, seq)}}
}

// born makes oc-seq grow over restarts.
var born = time.Now().Unix()

// tell writes feedback into a response's Via.
func (e *Endpoint) tell(res *sip.Response) {
	top := res.Via()
	if top == nil {
		return
	}
	if v, has := top.Params.Get("oc"); !has || v != "" {
		return
	}
	algo, _ := top.Params.Get("oc-algo")
	if !heedsOC(via{params: []byte(";oc;oc-algo=" + algo)}) {
		return
	}
	for _, p := range e.load.feedback(time.Now()) {
		top.Params.Add(p[0], p[1])
	}
}
