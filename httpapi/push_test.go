package httpapi

import (
	"context"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"latchkey"
	"latchkey/push"
)

// browser is what a browser says of its push service; keys of RFC 8291 §5.
const browser = `{"endpoint":"https://push.example.net/push/JzLQ3raZJfFBR0aqvOMsLrt54w4rJUsV","p256dh":"BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4","auth":"BTBZMqHH6r4Tts7J_aSIgg"}`

// pushes is a store of subscriptions in memory, for one guest.
type pushes struct {
	push.Store
	mu  sync.Mutex
	all map[string]latchkey.PushSubscription // by id
}

// newPushes is a real crier over it.
func newPushes(t *testing.T) *push.Crier {
	c := push.New(&pushes{all: map[string]latchkey.PushSubscription{}}, push.Options{Key: push.MakeKey(make([]byte, 32)), Allows: netip.Addr.IsGlobalUnicast})
	t.Cleanup(c.Close)
	return c
}

func (p *pushes) AddPush(_ context.Context, s latchkey.PushSubscription, _ int) (latchkey.PushSubscription, bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, known := range p.all {
		if known.Endpoint == s.Endpoint {
			s.ID = id
			p.all[id] = s
			return s, true, nil
		}
	}
	p.all[s.ID] = s
	return s, false, nil
}

func (p *pushes) DropPush(_ context.Context, account latchkey.AccountID, id string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.all[id].Account != account {
		return latchkey.Errorf(latchkey.KindNotFound, "")
	}
	delete(p.all, id)
	return nil
}

// X5, R28: a browser learns the gateway's key, is noted once, and can be taken back, in JSON as in XML.
func TestBrowsersAskToBeCalled(t *testing.T) {
	w := newWorld(t, Options{})
	var key struct{ Key string }
	w.do("GET", pushPath, "", asGuest).wants(200).into(&key)
	if len(key.Key) != 87 {
		t.Errorf("the key is %q", key.Key)
	}
	if r := w.do("GET", pushPath, "", asGuest, header("Accept", "application/xml")).wants(200); !strings.Contains(r.body, "<push><key>"+key.Key+"</key></push>") {
		t.Errorf("in XML: %s", r.body)
	}
	var first, again struct {
		ID      string
		Expires time.Time
	}
	w.do("POST", pushPath, browser, asGuest).wants(201).into(&first)
	w.do("POST", pushPath, strings.Replace(browser, `"auth"`, `"expires":"2030-01-02T03:04:05+01:00","auth"`, 1), asGuest).wants(200).into(&again)
	if first.ID == "" || again.ID != first.ID || !first.Expires.IsZero() || !again.Expires.Equal(time.Date(2030, 1, 2, 2, 4, 5, 0, time.UTC)) {
		t.Errorf("noted as %+v, then %+v", first, again)
	}
	const inXML = "<push>\n <endpoint>\n https://push.example.net/2\n </endpoint><p256dh>BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4</p256dh><auth>BTBZMqHH6r4Tts7J_aSIgg==</auth></push>"
	for _, status := range []int{201, 200} {
		if r := w.do("POST", pushPath, inXML, asGuest, asXML).wants(status); !strings.Contains(r.body, "<push><id>") {
			t.Errorf("in XML: %s", r.body)
		}
	}
	w.do("DELETE", pushPath+"/"+first.ID, "", asGuest).wants(204)
	w.do("DELETE", pushPath+"/"+first.ID, "", asGuest).problem(latchkey.KindNotFound)
	w.do("POST", pushPath, browser, asGuest).wants(201)
	if log := w.log.String(); strings.Contains(log, "JzLQ3raZ") || strings.Contains(log, "BTBZMq") {
		t.Error("the log has a browser's secrets")
	}
	for _, c := range [][2]string{{"GET", ""}, {"POST", browser}} {
		w.do(c[0], pushPath, c[1], asGuest, header("Accept", "image/png")).problem(latchkey.KindNotAcceptable)
	}
}

// S13: what is no browser's push service is refused, before anybody asks it anything.
func TestSubscriptionsAreLookedAt(t *testing.T) {
	w := newWorld(t, Options{})
	for _, bad := range [][2]string{
		{"https://push.example.net/push/", "http://push.example.net/push/"}, {"https://push", "https://user:password@push"}, {"https://push.example.net/push/", "https://127.0.0.1/"},
		{"https://push.example.net/push/", "https://[::1]/"}, {"https://push.example.net/push/", "https:///"}, {"push.example", "push.example/" + strings.Repeat("x", 2000)},
		{"BCVxsr7N", "BCVxsr7M"}, {"BTBZMq", "BTBZ"}, {"BTBZMq", "B BZMq"}, {`"auth"`, `"auht"`}, {`"auth"`, `"expires":"tomorrow","auth"`}, {`"p256dh":"`, `"p256dh":["x"],"y":"`},
	} {
		if !strings.Contains(browser, bad[0]) {
			t.Fatal(bad)
		}
		w.do("POST", pushPath, strings.Replace(browser, bad[0], bad[1], 1), asGuest).problem(latchkey.KindBadRequest)
	}
}

// X5: a gateway that calls nobody says so.
func TestGatewayMayCallNobody(t *testing.T) {
	w := newWorld(t, Options{})
	w.api.ports.Push = nil
	for _, c := range []call{{"GET", pushPath, "", nil}, {"POST", pushPath, browser, nil}, {"DELETE", pushPath + "/x", "", nil}} {
		c.by(w, asGuest).problem(latchkey.KindNotFound)
	}
}
