package gateway

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"latchkey"
)

// F18, R12: how our errors look in SIP.
func TestRefusalsSayWhenAndWhere(t *testing.T) {
	quota := latchkey.Errorf(latchkey.KindQuota, "")
	quota.RetryAfter = 90*time.Minute + time.Millisecond
	registered := latchkey.Errorf(latchkey.KindAlreadyRegistered, "")
	registered.URI = "sip:d@cc.com"
	for _, c := range []struct {
		err  error
		want string
	}{
		{quota, "480 [{Retry-After 5401}]"},
		{fmt.Errorf("invite: %w", latchkey.Errorf(latchkey.KindQuota, "")), "480 [{Retry-After 3600}]"},
		{registered, "302 [{Contact <sip:d@cc.com>}]"},
		{latchkey.Errorf(latchkey.KindNotAllowed, ""), "403 []"},
		{latchkey.Errorf(latchkey.KindUnsupportedMedia, ""), "415 [{Accept message/cpim, text/plain, application/im-iscomposing+xml}]"},
		{errors.New("disk"), "500 []"},
	} {
		code, fields := refusal(c.err)
		if got := fmt.Sprint(code, " ", fields); got != c.want {
			t.Errorf("refusal(%v) = %s, want %s", c.err, got, c.want)
		}
	}
}

// R1: a call for something else than a chat invites nobody.
func TestChatsAreToldFromOtherCalls(t *testing.T) {
	const head = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
	const chat = "m=message 2855 TCP/MSRP *\r\na=accept-types:message/cpim\r\na=path:msrp://127.0.0.1:2855/x;tcp\r\na=setup:actpass\r\n"
	for sdp, want := range map[string]bool{
		head + chat: true, head + "m=audio 4000 RTP/AVP 0\r\n": false, "": false,
		head + chat + "a=sendonly\r\na=file-selector:name:\"x\" type:image/png size:4092\r\na=file-transfer-id:1\r\n": false,
	} {
		if got := asksToChat([]byte(sdp)); got != want {
			t.Errorf("asksToChat(%q) = %v, want %v", sdp, got, want)
		}
	}
}
