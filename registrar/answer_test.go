package registrar

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
)

// RFC 3261 §10.2.4: the expiry is that of our own contact, else that of the header field.
func TestGrantedExpiryIsThatOfOurContact(t *testing.T) {
	ours := sip.Uri{Scheme: "sip", User: "b", Host: "127.0.0.1", Port: 5080}
	for _, c := range []struct {
		name, headers string
		want          time.Duration
	}{
		{"own parameter", "Contact: <sip:b@10.0.0.1>;expires=5\r\nContact: <sip:b@127.0.0.1:5080;transport=tcp>;q=0.5;expires=3600\r\nExpires: 7\r\n", 3600 * time.Second},
		{"in one line", "Contact: <sip:b@10.0.0.1>;expires=5, <sip:b@127.0.0.1:5080>;Expires=\"60\"\r\n", time.Minute},
		{"header field", "Contact: <sip:b@127.0.0.1:5080>\r\nExpires: 120\r\n", 2 * time.Minute},
		{"neither", "Contact: <sip:b@127.0.0.1:5080>\r\n", 10 * time.Minute},
		{"no contact", "", 10 * time.Minute},
		{"zero", "Contact: <sip:b@127.0.0.1:5080>;expires=0\r\n", 0},
		{"too large", "Contact: <sip:b@127.0.0.1:5080>;expires=99999999999\r\n", 0},
	} {
		msg, err := sip.ParseMessage([]byte("SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKx\r\nFrom: <sip:b@x>;tag=1\r\nTo: <sip:b@x>;tag=2\r\n" +
			"Call-ID: c\r\nCSeq: 1 REGISTER\r\n" + c.headers + "Content-Length: 0\r\n\r\n"))
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if got := grantedExpires(msg.(*sip.Response), 10*time.Minute, ours); got != c.want {
			t.Errorf("%s: granted %v, want %v", c.name, got, c.want)
		}
	}
}

func TestRetryAfterIsReadAndBounded(t *testing.T) {
	for in, want := range map[string]time.Duration{
		"5": 5 * time.Second, "18000;duration=3600": time.Hour, "120 (I'm in a meeting)": 2 * time.Minute, "soon": 0, "": 0, "-1": 0,
	} {
		res := sip.NewResponse(503, "Service Unavailable")
		res.AppendHeader(sip.NewHeader("Retry-After", in))
		if got := retryAfter(res); got != want {
			t.Errorf("Retry-After %q = %v, want %v", in, got, want)
		}
	}
}

// PROTOCOLS B1.22: which refusals are final.
func TestWhichRefusalsAreFinal(t *testing.T) {
	for code, want := range map[int]bool{302: true, 401: true, 403: true, 404: true, 408: false, 420: true, 480: false, 500: false, 503: false, 504: false, 603: true} {
		if got := (&refusal{code: code}).final(); got != want {
			t.Errorf("%d final: %v, want %v", code, got, want)
		}
	}
	if (&refusal{code: 404, retryAfter: time.Second}).final() {
		t.Error("404 with Retry-After is final, want it asked again")
	}
}

func TestBackoffStaysWithinItsBounds(t *testing.T) {
	for failures := 1; failures < 100; failures++ {
		upper := 30 * time.Minute
		if failures < 6 {
			upper = min(upper, 30*time.Second<<failures)
		}
		for range 20 {
			if got := backoff(failures); got < upper/2 || got > upper {
				t.Fatalf("backoff(%d) = %v, want between %v and %v", failures, got, upper/2, upper)
			}
		}
	}
}

func FuzzNameAddrs(f *testing.F) {
	for _, s := range []string{
		"<sip:orig@scscf.example;lr>", `"a, <b\"" <sip:a@b;lr>;x="<sip:c@d>", <sip:e@f>`, "<sip:[::1]:5060;lr>,<tel:+86138>", "sip:a@b", "<<sip:a@b>>", "<sip:a@b", "<>", "<http://x>", "<*>",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		all := parseNameAddrs(s)
		if len(all) > maxAddresses {
			t.Fatalf("parseNameAddrs(%q) kept %d", s, len(all))
		}
		for _, u := range all {
			if strings.ContainsAny(u, "\r\n<> \"") {
				t.Fatalf("parseNameAddrs(%q) lets %q through", s, u)
			}
		}
		if again := parseNameAddrs("<" + strings.Join(all, ">, <") + ">"); !slices.Equal(all, again) && len(all) > 0 {
			t.Fatalf("parseNameAddrs(%q) = %q, read again %q", s, all, again)
		}
	})
}
