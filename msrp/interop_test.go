package msrp_test

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"latchkey/imstest"
	"latchkey/msrp"
)

// envelope is a CPIM message, spelled out (RFC 3862 §5).
func envelope(id, text string) string {
	return strings.ReplaceAll("From: <sip:b@guest.example>\nTo: <sip:a@cc.com>\nNS: imdn <urn:ietf:params:imdn>\nDateTime: 2026-01-02T03:04:05Z\nimdn.Message-ID: "+id+
		"\nimdn.Disposition-Notification: positive-delivery\n\nContent-Type: text/plain\nContent-Length: ", "\n", "\r\n") + fmt.Sprint(len(text)) + "\r\n\r\n" + text
}

// B4.04, B4.05, B4.08, B4.10: with a phone whose code has nothing in common with this package, either side connecting, both
// sides send short and long messages, in both directions at once.
func TestChatsWithAPhone(t *testing.T) {
	for _, weAre := range []string{"active", "passive"} {
		t.Run(weAre, func(t *testing.T) {
			phone, err := imstest.NewMedia("sip:a@cc.com", "sip:b@guest.example")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(phone.Close)
			ctx, b := within(t), newInbox()
			l := listen(t, msrp.ListenerOptions{})
			path := uri(t, "msrp://127.0.0.1:"+phone.Port()+"/"+phone.ID()+";tcp")
			s := msrp.NewSession(msrp.SessionOptions{Local: l.NewURI(), Remote: msrp.Path{path}, Handler: b, AcceptTypes: []string{"message/cpim"}})
			t.Cleanup(func() { _ = s.Close() })
			if weAre == "active" {
				phone.Await()
				if err := s.Connect(ctx, (&net.Dialer{}).DialContext, "127.0.0.1:"+phone.Port(), nil); err != nil {
					t.Fatal(err)
				}
			} else {
				l.Expect(s)
				if err := phone.Connect(s.Local().String()); err != nil {
					t.Fatal(err)
				}
				<-s.Bound()
			}
			if phone.RemotePath() != s.Local().String() {
				t.Errorf("the phone knows us as %q", phone.RemotePath())
			}
			lengths := []int{1, 1500, 2048, 2049, 20000, 200000}
			sent := make(chan error, 2)
			go func() {
				for i, n := range lengths {
					body := envelope(fmt.Sprint("ours", i), fmt.Sprint(i, strings.Repeat("é", n/2)))
					if err := s.Send(ctx, &msrp.Message{ContentType: "message/cpim", Body: strings.NewReader(body), Size: int64(len(body))}); err != nil {
						sent <- err
						return
					}
				}
				sent <- nil
			}()
			go func() {
				for i, n := range lengths {
					if _, err := phone.Send(ctx, fmt.Sprint(i, strings.Repeat("-------", n/7))); err != nil {
						sent <- err
						return
					}
				}
				sent <- nil
			}()
			for range 2 {
				if err := <-sent; err != nil {
					t.Fatalf("Send = %v", err)
				}
			}
			got, err := phone.Wait(ctx, "message", len(lengths))
			if err != nil || len(got) != len(lengths) {
				t.Fatalf("the phone got %d messages, %v", len(got), err)
			}
			for i, n := range lengths {
				if want := fmt.Sprint(i, strings.Repeat("é", n/2)); got[i].Text != want || got[i].ID != fmt.Sprint("ours", i) {
					t.Errorf("message %d reached the phone with %d octets, want %d", i, len(got[i].Text), len(want))
				}
			}
			// Ours come with the phone's receipts for its own.
			texts := map[string]bool{}
			for len(texts) < len(lengths) {
				m := b.next(t)
				if m == "" {
					t.FailNow()
				}
				if _, body, ok := strings.Cut(m[strings.Index(m, "\r\n\r\n")+4:], "\r\n\r\n"); ok && !strings.Contains(m, "message/imdn+xml") {
					texts[body] = true
				}
			}
			for i, n := range lengths {
				if !texts[fmt.Sprint(i, strings.Repeat("-------", n/7))] {
					t.Errorf("message %d of the phone did not come whole", i)
				}
			}
			if v := phone.Violations(); len(v) > 0 {
				t.Errorf("violations: %q", v)
			}
			phone.Close()
			<-s.Done()
		})
	}
}
