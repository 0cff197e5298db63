package main

import (
	"context"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"latchkey/gateway/gatewaytest"
)

// B2.02: serve takes T1 and T2 before anything is sent: within the 10 s that a REGISTER has, a silent core hears it more often than the five times
// that the defaults come to.
func TestServeTakesTheSIPTimers(t *testing.T) {
	t.Parallel()
	core, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer core.Close()
	w := serves(t, gatewaytest.Plan{Args: []string{"--sip-core=sip:" + core.LocalAddr().String(), "--sip-t1=100ms", "--sip-t2=200ms", "--sip-t4=300ms"}})
	ctx, cancel := context.WithTimeout(t.Context(), gatewaytest.Patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "POST", w.URL()+"/rcsgw/invitee/user", strings.NewReader(`{"email":"b@cc.com"}`))
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth(gatewaytest.Alice, gatewaytest.Password)
	req.Header.Set("Content-Type", "application/json")
	done := make(chan struct{})
	go func() { // ends with the answer, or by cancel
		defer close(done)
		if res, err := http.DefaultClient.Do(req); err == nil {
			res.Body.Close()
		}
	}()
	_ = core.SetReadDeadline(time.Now().Add(gatewaytest.Patience))
	heard, buf := map[string]int{}, make([]byte, 65535)
	for most := 0; most < 10; {
		n, _, err := core.ReadFrom(buf)
		if err != nil {
			t.Fatalf("%v; heard %v", err, heard)
		}
		text := string(buf[:n])
		if !strings.HasPrefix(text, "REGISTER ") {
			continue
		}
		heard[text]++ // repeats are the same, octet by octet
		most = max(most, heard[text])
	}
	cancel()
	<-done
}
