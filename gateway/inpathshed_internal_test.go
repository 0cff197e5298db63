package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"latchkey"
	"latchkey/b2bua"
	"latchkey/internal/sipua"
	"latchkey/storage"
)

// B2.12: under overload an OPTIONS that would go on to somebody else gets 503; one for a guest is answered, whatever Routes it came with, and so
// is what the endpoint has let in by its own rules.
func TestUnderOverloadGuestsAreAnsweredAndOthersAreNotAsked(t *testing.T) {
	t.Parallel()
	next, err := net.ListenPacket("udp", "127.0.0.1:0") // S-CSCF: who asks, and the next hop
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	ua, err := sipua.Listen(sipua.Options{Listen: []string{"udp:127.0.0.1:0"}, ServeAll: true})
	if err != nil {
		t.Fatal(err)
	}
	defer ua.Close()
	db, err := storage.Open(t.Context(), filepath.Join(t.TempDir(), "latchkey.db"), storage.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	const guest = "sip:b_at_cc.com@guest.example"
	if _, _, err := db.Ask(t.Context(), latchkey.Guest{Account: guest, Identifier: latchkey.Identifier{Kind: latchkey.Mail, Value: "b@cc.com"}, Created: time.Now()},
		latchkey.Relation{Account: guest, Inviter: "sip:a@cc.com", Interactions: []latchkey.Interaction{latchkey.IM}, Created: time.Now(), Expires: time.Now().Add(time.Hour)}); err != nil {
		t.Fatal(err)
	}
	engine := b2bua.New(ua, b2bua.Options{Core: "sip:" + next.LocalAddr().String(), Trusted: []string{"127.0.0.1"}})
	defer func() { _ = engine.Shutdown(context.Background()) }()
	p := newInPath(&Gateway{engine: engine, db: db, config: Config{SIPCore: "sip:" + next.LocalAddr().String()}, log: slog.New(slog.DiscardHandler)}, &doorkeeper{})
	p.shed = func(t *sipua.Transaction) bool { // as Transaction.Shed does when the law rules
		_ = t.Respond(503, "")
		return true
	}
	for _, m := range []sip.RequestMethod{sip.OPTIONS, sip.PUBLISH} {
		engine.On(m, p.route(func(t *sipua.Transaction) { _ = t.Respond(200, "") }))
	}
	to, err := net.ResolveUDPAddr("udp", ua.Addrs()[0].HostPort)
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range []struct{ name, method, target, want string }{
		{"a guest", "OPTIONS", guest, "SIP/2.0 200 "},
		{"a subscriber", "OPTIONS", "sip:c@cc.com", "SIP/2.0 503 "},
		{"what the endpoint has let in", "PUBLISH", "sip:c@cc.com", "PUBLISH sip:c@cc.com "},
	} {
		text := fmt.Sprintf("%[1]s %[2]s SIP/2.0\r\nVia: SIP/2.0/UDP %[4]s;branch=z9hG4bK%[3]d\r\nRoute: <sip:%[5]s;lr>, <sip:odi@%[4]s;lr>\r\nFrom: <sip:a@cc.com>;tag=1\r\nTo: <%[2]s>\r\n"+
			"Call-ID: %[3]d\r\nCSeq: 1 %[1]s\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n", c.method, c.target, i, next.LocalAddr(), to)
		if _, err := next.WriteTo([]byte(text), to); err != nil {
			t.Fatal(err)
		}
		_ = next.SetReadDeadline(time.Now().Add(time.Minute))
		buf := make([]byte, 65535)
		n, _, err := next.ReadFrom(buf)
		if got := string(buf[:n]); err != nil || !strings.HasPrefix(got, c.want) {
			t.Errorf("%s: %v\n%s", c.name, err, got)
		}
	}
}
