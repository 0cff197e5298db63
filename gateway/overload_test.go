package gateway_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"latchkey/gateway/gatewaytest"
)

// F64: operators see the load, and what is alerted on is there: each metric that deploy/alerts.yml names, and that docs/howto/overload.md explains.
func TestOperatorsSeeTheLoad(t *testing.T) {
	t.Parallel()
	w := gatewaytest.New(t, gatewaytest.Plan{})
	l := newTrunk(t, w)
	l.say(l.request("OPTIONS", "sip:"+w.SIP, "load", 1, "To: <sip:"+w.SIP+">"))
	l.hear("SIP/2.0 200 ", "Call-ID: load")
	b := w.Metrics()
	if waited := regexp.MustCompile(`(?m)^latchkey_sipua_queue_delay_seconds_count [1-9]`); !waited.MatchString(b) {
		t.Errorf("the OPTIONS is not counted in\n%s", b)
	}
	page, err := os.ReadFile("../docs/howto/overload.md")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("../deploy/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	var rules struct {
		Groups []struct {
			Rules []struct{ Alert, Expr string }
		}
	}
	if err := yaml.Unmarshal(text, &rules); err != nil {
		t.Fatal(err)
	}
	name := regexp.MustCompile(`latchkey_sipua_[a-z_]+`)
	alerts := 0
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			named := name.FindAllString(r.Expr, -1)
			if len(named) == 0 {
				continue // another room's
			}
			alerts++
			for _, n := range named {
				if !strings.Contains(b, "\n"+n) {
					t.Errorf("%s: there is no %s", r.Alert, n)
				}
			}
			if !strings.Contains(string(page), "`"+r.Alert+"`") {
				t.Errorf("%s is not in docs/howto/overload.md", r.Alert)
			}
		}
	}
	if alerts == 0 {
		t.Error("no alerts")
	}
	for _, n := range name.FindAllString(string(page), -1) {
		if !strings.Contains(b, "# TYPE "+n+" ") {
			t.Errorf("docs/howto/overload.md names %s, which is not there", n)
		}
	}
	for _, line := range strings.Split(b, "\n") {
		if n, ok := strings.CutPrefix(line, "# TYPE latchkey_sipua_"); ok {
			if n, _, _ = strings.Cut(n, " "); !strings.Contains(string(page), "latchkey_sipua_"+n) {
				t.Errorf("docs/howto/overload.md has no latchkey_sipua_%s", n)
			}
		}
	}
}
