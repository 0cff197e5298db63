package httpapi

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metrics are the facade's, as operators read them.
func metrics(t *testing.T, w *world) map[string]string {
	t.Helper()
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(w.api.Metrics()...)
	rec := httptest.NewRecorder()
	promhttp.HandlerFor(r, promhttp.HandlerOpts{}).ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
	all := map[string]string{}
	for line := range strings.Lines(rec.Body.String()) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), " "); ok && name != "#" {
			all[name] = value
		}
	}
	return all
}

// Issue 7: operators see the requests by route and answer, the streams by kind, and which limits are hit; and no label holds what a client chose.
func TestRequestsStreamsAndLimitsAreCounted(t *testing.T) {
	w := newWorld(t, Options{MaxStreams: 3, MaxBody: 100})
	s := w.serve()
	stream := openSSE(t, s.Client(), s.URL+eventsPath)
	ctx, cancel := contextOf(t)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, s.URL+eventsPath, &websocket.DialOptions{HTTPHeader: basicHeader()})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	polled := make(chan response, 1)
	go func() { polled <- w.do("GET", eventsPath+"?after=99&wait=30", "", asGuest) }() // ends with the drain
	wants := func(want map[string]string) {
		t.Helper()
		got := metrics(t, w)
		for name, value := range want {
			if got[name] != value {
				t.Errorf("%s = %q, want %q", name, got[name], value)
			}
		}
	}
	eventually(t, func() bool { return metrics(t, w)[`latchkey_httpapi_streams{kind="poll"}`] == "1" })
	wants(map[string]string{`latchkey_httpapi_streams{kind="sse"}`: "1", `latchkey_httpapi_streams{kind="websocket"}`: "1"})
	w.do("GET", eventsPath+"?after=99&wait=30", "", asGuest).wants(429)
	w.do("POST", "/rcsgw/invitee/message", `{"to":"`+aliceURI+`","message":"hi"}`, asGuest).wants(202)
	w.do("POST", "/rcsgw/invitee/message", strings.Repeat(" ", 101), asGuest).wants(413)
	w.do("GET", statusPath+aliceURI, "", asGuest).wants(200)
	w.do("GET", statusPath+carolURI, "", asGuest).wants(403)
	w.do("GET", "/secret-of-a-guest", "").wants(404)
	w.do("PROPFIND", "/rcsgw/invitee/message", "").wants(405)
	stream.close()
	eventually(t, func() bool { return metrics(t, w)[`latchkey_httpapi_streams{kind="sse"}`] == "0" })
	w.api.Drain()
	<-polled
	eventually(t, func() bool { // requests over the network are counted behind their answers
		got := metrics(t, w)
		return got[`latchkey_httpapi_requests_total{method="GET",route="/rcsgw/invitee/events",status="101"}`] == "1" && got[`latchkey_httpapi_requests_total{method="GET",route="/rcsgw/invitee/events",status="200"}`] == "2"
	})
	wants(map[string]string{
		`latchkey_httpapi_streams{kind="poll"}`: "0", `latchkey_httpapi_streams{kind="websocket"}`: "0",
		`latchkey_httpapi_limits_total{limit="streams"}`: "1", `latchkey_httpapi_limits_total{limit="body"}`: "1", `latchkey_httpapi_limits_total{limit="guesses"}`: "0",
		`latchkey_httpapi_requests_total{method="GET",route="/rcsgw/invitee/events",status="200"}`:    "2",
		`latchkey_httpapi_requests_total{method="GET",route="/rcsgw/invitee/events",status="429"}`:    "1",
		`latchkey_httpapi_requests_total{method="POST",route="/rcsgw/invitee/message",status="202"}`:  "1",
		`latchkey_httpapi_requests_total{method="POST",route="/rcsgw/invitee/message",status="413"}`:  "1",
		`latchkey_httpapi_requests_total{method="GET",route="/rcsgw/invitee/status/",status="200"}`:   "1",
		`latchkey_httpapi_requests_total{method="GET",route="/rcsgw/invitee/status/",status="403"}`:   "1",
		`latchkey_httpapi_requests_total{method="GET",route="other",status="404"}`:                    "1",
		`latchkey_httpapi_requests_total{method="other",route="/rcsgw/invitee/message",status="405"}`: "1",
	})
	for name := range metrics(t, w) {
		if strings.Contains(name, "secret") || strings.Contains(name, "PROPFIND") || strings.Contains(name, "@") {
			t.Errorf("a client has chosen %s", name)
		}
	}
}
