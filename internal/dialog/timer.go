package dialog

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"
)

// Session intervals in seconds (RFC 4028).
const (
	MinSE          = 90   // §5: none is shorter
	SessionExpires = 1800 // §4: what is asked for where nobody says otherwise
)

// Timer is the session timer that the two ends of a dialog agreed on, as one of them sees it (RFC 4028).
// The zero Timer is none.
type Timer struct {
	Interval uint32 // in seconds
	Ours     bool   // we refresh
}

// Refresh is when the refresher refreshes: after half of the interval (RFC 4028 §7.2, §10).
func (t Timer) Refresh() time.Duration { return time.Duration(t.Interval) * time.Second / 2 }

// Expiry is when whoever has seen no refresh hangs up: the lesser of 32 s and a third of the
// interval before its end (RFC 4028 §10).
func (t Timer) Expiry() time.Duration {
	whole := time.Duration(t.Interval) * time.Second
	return whole - min(32*time.Second, whole/3)
}

// Ask is the Session-Expires of a request of ours: the timer that stands goes on as it is, and where
// there is none the peer may choose who refreshes (RFC 4028 §7.1, §7.4).
func (t Timer) Ask() string {
	switch {
	case t.Interval == 0:
		return fmt.Sprint(SessionExpires)
	case t.Ours:
		return fmt.Sprintf("%d;refresher=uac", t.Interval)
	}
	return fmt.Sprintf("%d;refresher=uas", t.Interval)
}

// AskFor is Ask, with an interval of the asker's choice where no timer stands; 0: the usual one.
func (t Timer) AskFor(interval uint32) string {
	if t.Interval == 0 && interval != 0 {
		return fmt.Sprint(interval)
	}
	return t.Ask()
}

// sessionExpires reads the field of that name; x is its short form (RFC 4028 §4).
func sessionExpires(m fields) (interval uint32, refresher string) {
	v := first(m, "Session-Expires", "x")
	seconds, params, _ := strings.Cut(v, ";")
	n, err := strconv.ParseUint(strings.TrimSpace(seconds), 10, 64)
	if err != nil || n == 0 {
		return 0, ""
	}
	for p := range strings.SplitSeq(params, ";") {
		if name, value, _ := strings.Cut(p, "="); strings.EqualFold(strings.TrimSpace(name), "refresher") {
			refresher = strings.ToLower(strings.TrimSpace(value))
		}
	}
	return uint32(min(n, math.MaxInt32)), refresher
}

// MinInterval is what Min-SE says, at least MinSE (RFC 4028 §5).
func MinInterval(m fields) uint32 {
	seconds, _, _ := strings.Cut(first(m, "Min-SE"), ";")
	n, _ := strconv.ParseUint(strings.TrimSpace(seconds), 10, 64)
	return uint32(min(max(n, MinSE), math.MaxInt32))
}

func first(m fields, names ...string) string {
	for _, name := range names {
		if h := First(m, name); h != nil {
			return h.Value()
		}
	}
	return ""
}

// Supports reports whether the fields Supported or Require (or k) hold an option tag.
func Supports(m fields, option string) bool {
	return HasToken(m, "Supported", option) || HasToken(m, "k", option) || HasToken(m, "Require", option)
}

// TooBrief reports whether a request's session interval is one to refuse with 422 (RFC 4028 §9: only
// one who supports the timer is refused).
func TooBrief(req *sip.Request) bool {
	interval, _ := sessionExpires(req)
	return interval != 0 && interval < MinSE && Supports(req, "timer")
}

// Asked is the timer that a 2xx of ours to the peer's INVITE or UPDATE agrees to, and what its Session-Expires and Require say
// (RFC 4028 §9, Table 2). standing is the timer so far: a request that says nothing of it does not
// end it, but then the refreshes are ours.
func Asked(req *sip.Request, standing Timer) (t Timer, field string, require bool) {
	interval, refresher := sessionExpires(req)
	supports := Supports(req, "timer")
	switch {
	case interval == 0:
		t = Timer{standing.Interval, true}
		if refresher = "uas"; t.Interval != 0 {
			t.Interval = max(t.Interval, MinInterval(req)) // never less than the Min-SE of the request
		}
	default:
		t.Interval = max(interval, MinSE) // a peer without the extension got it from a proxy
		if refresher != "uac" || !supports {
			t.Ours, refresher = true, "uas"
		}
	}
	if t.Interval == 0 {
		return Timer{}, "", false
	}
	return t, fmt.Sprintf("%d;refresher=%s", t.Interval, refresher), supports
}

// Granted is the timer that a 2xx to a request of ours agrees to (RFC 4028 §7.2); without the field there is none.
func Granted(res *sip.Response) Timer {
	interval, refresher := sessionExpires(res)
	if interval == 0 {
		return Timer{}
	}
	// Too short a one is refreshed no more often than the shortest allowed; so nobody makes us busy.
	return Timer{Interval: max(interval, MinSE), Ours: refresher != "uas"}
}
