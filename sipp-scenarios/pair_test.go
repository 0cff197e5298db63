package scenarios

import (
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// B1.22, B2.08, R21: a Kamailio that dies is followed by another one: the guest's login registers the account there, with the same Call-ID and a
// higher CSeq, and what the guest then sends goes that way without another wait.
func TestSecondKamailioTakesOver(t *testing.T) {
	t.Parallel()
	need(t, "sipp", "apt-get install sip-tester")
	const auth = `AUTH_SHARED="s3cret"`
	first, second := startCore(t, auth), startCore(t, auth)
	w := newWorldAround(t, freePort(t), first, []string{"--sip-core", first.uri() + "," + second.uri()}, "shared:s3cret", auth)
	account, password, _ := w.invited()
	before := first.registered(bobAOR)
	if len(before) != 1 || len(second.registered(bobAOR)) != 0 {
		t.Fatalf("the first core has %+v, the second %+v", before, second.registered(bobAOR))
	}

	phone := newMedia(t)
	a := newPhone(t, second, "a")
	a.register()
	phone.Await()
	atRest := a.rest("phone.xml", describe(phone, "passive")...)
	first.stop()
	dead, err := net.ListenPacket("udp", first.hostport())
	if err != nil {
		t.Fatal(err)
	}
	defer dead.Close()
	b := w.login(account, password)
	asked := registersAt(dead)
	if len(asked) == 0 {
		t.Error("the first core is not asked")
	}
	after := second.registered(bobAOR)
	if len(after) != 1 || after[0].CallID != before[0].CallID || after[0].CSeq <= before[0].CSeq {
		t.Errorf("the second core has %+v, want the Call-ID of %+v and a higher CSeq", after, before)
	}
	w.login(account, password)
	for seq := range registersAt(dead) {
		if !asked[seq] { // others are repeats
			t.Errorf("the next login has asked the dead core, by %s", seq)
		}
	}
	id := b.send("abcdefg")
	if got, err := phone.Wait(bounded(t), "message", 1); err != nil || got[0].Text != "abcdefg" || got[0].ID != id {
		t.Errorf("the phone has %+v, %v, want message %s", got, err, id)
	}
	if status, text := b.do("DELETE", sessionPath(account), nil, nil); status != http.StatusNoContent {
		t.Errorf("logout = %d %s, want 204", status, text)
	}
	atRest.end()
	if got := second.registered(bobAOR); len(got) != 0 {
		t.Errorf("after the logout the second core has %+v", got)
	}
}

// registersAt tells the CSeqs of the REGISTERs that have come.
func registersAt(conn net.PacketConn) map[string]bool {
	found := map[string]bool{}
	for buf := make([]byte, 65536); ; {
		_ = conn.SetReadDeadline(time.Now().Add(10 * time.Millisecond)) // what was sent is there
		n, _, err := conn.ReadFrom(buf)
		if err != nil {
			return found
		}
		if text := string(buf[:n]); strings.HasPrefix(text, "REGISTER ") {
			found[strings.TrimSpace(cseqLine.FindString(text))] = true
		}
	}
}
