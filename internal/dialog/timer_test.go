package dialog

import (
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
)

func asking(fields ...string) *sip.Request {
	req := sip.NewRequest(sip.INVITE, sip.Uri{})
	for i := 0; i < len(fields); i += 2 {
		req.AppendHeader(sip.NewHeader(fields[i], fields[i+1]))
	}
	return req
}

// F40, B2.07: refresh at half of the interval, hang up min(32 s, a third) before its end (RFC 4028 §10).
func TestTimerRefreshesAndExpires(t *testing.T) {
	for _, c := range []struct {
		interval        uint32
		refresh, expiry time.Duration
	}{{90, 45 * time.Second, 60 * time.Second}, {96, 48 * time.Second, 64 * time.Second}, {1800, 900 * time.Second, 1768 * time.Second}} {
		if tm := (Timer{Interval: c.interval}); tm.Refresh() != c.refresh || tm.Expiry() != c.expiry {
			t.Errorf("%d: refresh %v, expiry %v", c.interval, tm.Refresh(), tm.Expiry())
		}
	}
}

// B2.07: who refreshes is what Table 2 of RFC 4028 §9 says.
func TestRefresherIsByTheTable(t *testing.T) {
	for _, c := range []struct {
		name     string
		req      *sip.Request
		standing Timer
		want     Timer
		field    string
		require  bool
	}{
		{"nothing asked", asking("Supported", "timer"), Timer{}, Timer{}, "", false},
		{"peer leaves it to us", asking("Supported", "timer", "Session-Expires", "90"), Timer{}, Timer{90, true}, "90;refresher=uas", true},
		{"peer refreshes", asking("Supported", "timer", "Session-Expires", "1800; refresher=uac"), Timer{}, Timer{1800, false}, "1800;refresher=uac", true},
		{"peer lets us refresh", asking("k", "100rel, timer", "x", "100;refresher=UAS"), Timer{}, Timer{100, true}, "100;refresher=uas", true},
		{"asked by a proxy", asking("Session-Expires", "30"), Timer{}, Timer{90, true}, "90;refresher=uas", false},
		{"one without the extension can't refresh", asking("Session-Expires", "300;refresher=uac"), Timer{}, Timer{300, true}, "300;refresher=uas", false},
		{"a refresh that says nothing", asking(), Timer{600, false}, Timer{600, true}, "600;refresher=uas", false},
		{"never less than its Min-SE", asking("Supported", "timer", "Min-SE", "700"), Timer{600, false}, Timer{700, true}, "700;refresher=uas", true},
		{"a Min-SE alone asks for none", asking("Supported", "timer", "Min-SE", "700"), Timer{}, Timer{}, "", false},
		{"garbage", asking("Session-Expires", "soon"), Timer{}, Timer{}, "", false},
		{"more than there is", asking("Supported", "timer", "Session-Expires", "99999999999;refresher=uac"), Timer{}, Timer{1<<31 - 1, false}, "2147483647;refresher=uac", true},
	} {
		got, field, require := Asked(c.req, c.standing)
		if got != c.want || field != c.field || require != c.require {
			t.Errorf("%s: %+v, %q, %v", c.name, got, field, require)
		}
	}
	res := sip.NewResponse(200, "OK")
	if got := Granted(res); got != (Timer{}) {
		t.Errorf("Granted(nothing) = %+v", got)
	}
	for v, want := range map[string]Timer{"120;refresher=uac": {120, true}, "120;refresher=uas": {120, false}, "10": {90, true}} {
		res := sip.NewResponse(200, "OK")
		res.AppendHeader(sip.NewHeader("Session-Expires", v))
		if got := Granted(res); got != want {
			t.Errorf("Granted(%s) = %+v, want %+v", v, got, want)
		}
	}
	for want, tm := range map[string]Timer{"1800": {}, "90;refresher=uac": {90, true}, "90;refresher=uas": {90, false}} {
		if got := tm.Ask(); got != want {
			t.Errorf("Ask = %q, want %q", got, want)
		}
	}
}

// F40: an interval under 90 s is refused, but only to one who knows the extension (RFC 4028 §9).
func TestBriefIntervalIsRefused(t *testing.T) {
	for _, c := range []struct {
		req  *sip.Request
		want bool
	}{
		{asking("Supported", "timer", "Session-Expires", "30"), true},
		{asking("Require", "timer", "x", "89"), true},
		{asking("Session-Expires", "30"), false},
		{asking("Supported", "timer", "Session-Expires", "90"), false},
		{asking("Supported", "timer"), false},
	} {
		if got := TooBrief(c.req); got != c.want {
			t.Errorf("TooBrief(%v) = %v", c.req, got)
		}
	}
	for v, want := range map[string]uint32{"": 90, "60": 90, "300": 300, "300;x=y": 300, "-1": 90} {
		if got := MinInterval(asking("Min-SE", v)); got != want {
			t.Errorf("MinInterval(%q) = %d, want %d", v, got, want)
		}
	}
}

// Whatever the fields say, the interval is one that a timer can keep.
func FuzzSessionExpires(f *testing.F) {
	f.Add("90", "timer", "90")
	f.Add("1800;refresher=uac", "100rel,timer", "")
	f.Add(";;refresher==", "", "x;")
	f.Fuzz(func(t *testing.T, expires, supported, minimum string) {
		req := asking("Session-Expires", expires, "Supported", supported, "Min-SE", minimum)
		tm, _, _ := Asked(req, Timer{})
		if tm.Interval != 0 && (tm.Interval < MinSE || tm.Refresh() <= 0 || tm.Expiry() <= tm.Refresh()) {
			t.Errorf("Asked(%q) = %+v", expires, tm)
		}
		if MinInterval(req) < MinSE {
			t.Errorf("MinInterval(%q) = %d", minimum, MinInterval(req))
		}
	})
}
