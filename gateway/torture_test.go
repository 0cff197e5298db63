package gateway_test

import (
	"bufio"
	"fmt"
	"net"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"latchkey/gateway/gatewaytest"
)

// F65, B2.11: the messages of RFC 4475 and RFC 5118 at a gateway, each with its final answer. internal/sipua tests that they are read right;
// here they meet the rooms: extensions, types, methods and callers that a gateway doesn't serve. 0: no answer.
func TestTortureMessagesAreAnswered(t *testing.T) {
	t.Parallel()
	want := map[string]int{
		"rfc4475/wsinv": 481, "rfc4475/intmeth": 501, "rfc4475/esc01": 404, "rfc4475/escnull": 403, "rfc4475/esc02": 501, "rfc4475/lwsdisp": 404,
		"rfc4475/longreq": 404, "rfc4475/dblreq": 403, "rfc4475/semiuri": 404, "rfc4475/transports": 404, "rfc4475/mpart01": 415,
		"rfc4475/badinv01": 400, "rfc4475/clerr": 400, "rfc4475/ncl": 400, "rfc4475/scalar02": 400, "rfc4475/quotbal": 400, "rfc4475/ltgtruri": 400,
		"rfc4475/lwsruri": 400, "rfc4475/lwsstart": 400, "rfc4475/trws": 400, "rfc4475/escruri": 400, "rfc4475/baddate": 404, "rfc4475/regbadct": 400,
		"rfc4475/badaspec": 400, "rfc4475/baddn": 400, "rfc4475/badvers": 505, "rfc4475/mismatch01": 400, "rfc4475/mismatch02": 501,
		"rfc4475/badbranch": 400, "rfc4475/insuf": 400, "rfc4475/unkscm": 416, "rfc4475/novelsc": 416, "rfc4475/unksm2": 403, "rfc4475/bext01": 420,
		"rfc4475/invut": 415, "rfc4475/regaut01": 403, "rfc4475/multi01": 400, "rfc4475/mcl01": 400, "rfc4475/zeromf": 404, "rfc4475/cparam01": 403,
		"rfc4475/cparam02": 403, "rfc4475/regescrt": 403, "rfc4475/sdp01": 404, "rfc4475/inv2543": 400,
		"rfc5118/ipv6-good": 403, "rfc5118/ipv6-bad": 400, "rfc5118/port-ambiguous": 403, "rfc5118/port-unambiguous": 403,
		"rfc5118/via-received-param-with-delim": 481, "rfc5118/via-received-param-no-delim": 200, "rfc5118/ipv6-in-sdp": 404, "rfc5118/mult-ip-in-header": 481,
		"rfc5118/mult-ip-in-sdp": 404, "rfc5118/ipv4-mapped-ipv6": 404, "rfc5118/ipv6-bug-abnf-3-colons": 404, "rfc5118/ipv6-correct-abnf-2-colons": 404,
	}
	w := gatewaytest.New(t, gatewaytest.Plan{})
	ip := fmt.Sprintf("127.66.%d.%d", os.Getpid()>>8&0xff, max(os.Getpid()&0xff, 1))
	in := make(chan string, 64)
	var from net.PacketConn
	for _, port := range []string{"5060", "5050", "5070", "6050", "19823"} { // their Vias name these
		conn, err := net.ListenPacket("udp", net.JoinHostPort(ip, port))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		if from == nil {
			from = conn
		}
		go func() { // ends when the socket is closed
			buf := make([]byte, 65535)
			for {
				n, _, err := conn.ReadFrom(buf)
				if err != nil {
					return
				}
				in <- string(buf[:n])
			}
		}()
	}
	to, err := net.ResolveUDPAddr("udp", w.SIP)
	if err != nil {
		t.Fatal(err)
	}
	files, _ := filepath.Glob("../internal/sipua/testdata/rfc[0-9]*/*.dat")
	if len(files) != 62 {
		t.Fatalf("%d files", len(files))
	}
	seen := map[string]bool{}
	for i, file := range files {
		name := strings.TrimSuffix(strings.TrimPrefix(file, "../internal/sipua/testdata/"), ".dat")
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		text := string(b)
		if strings.HasPrefix(name, "rfc5118/") { // whose archive has lost the CRs, and whose lengths count something else
			head, body, _ := strings.Cut(strings.ReplaceAll(text, "\n", "\r\n"), "\r\n\r\n")
			text = head[:strings.Index(head, "Content-Length: ")] + fmt.Sprint("Content-Length: ", len(body)) + "\r\n\r\n" + body
		}
		// Some have the same branch, so that one would be a repeat of the other.
		text = strings.Replace(text, "branch=z9hG4bKkdjuw", fmt.Sprintf("branch=z9hG4bKkdjuw%d", i), 1)
		text = strings.Replace(text, "branch=z9hG4bKas3", fmt.Sprintf("branch=z9hG4bKas3%d", i), 1)
		_, _ = from.WriteTo([]byte(text), to)
		after := fmt.Sprintf("OPTIONS sip:%s SIP/2.0\r\nVia: SIP/2.0/UDP %s:5060;branch=z9hG4bKafter%d\r\nFrom: <sip:a@cc.com>;tag=1\r\nTo: <sip:%s>\r\nCall-ID: after-%d\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n", w.SIP, ip, i, w.SIP, i)
		mine := callID(text)
		if want[name] == 0 {
			mine = fmt.Sprint("after-", i)
			_, _ = from.WriteTo([]byte(after), to)
		}
		for got := 0; got < 200; {
			select {
			case a := <-in:
				if seen[a] {
					continue // the answer to an INVITE comes until its ACK does
				}
				seen[a] = true
				if id := callID(a); id != mine {
					if want[name] == 0 && id == callID(text) && mine != id {
						t.Errorf("%s is answered by %q", name, a)
					}
					continue
				}
				if _, err := fmt.Sscanf(a, "SIP/2.0 %d", &got); err != nil {
					t.Fatalf("%s: %q", name, a)
				}
				if got >= 200 && want[name] != 0 && got != want[name] {
					t.Errorf("%s: %d, want %d", name, got, want[name])
				}
				switch {
				case got == 420 && !strings.Contains(a, "Unsupported: "), got == 405 && !strings.Contains(a, "Allow: "), got == 415 && !strings.Contains(a, "Accept: "):
					t.Errorf("%s: what it lacks isn't said: %q", name, a)
				}
			case <-time.After(gatewaytest.Patience):
				t.Fatalf("%s: no answer, want %d", name, want[name])
			}
		}
	}
}

func callID(text string) string {
	_, rest, _ := strings.Cut(text, "\r\n")
	h, _ := textproto.NewReader(bufio.NewReader(strings.NewReader(rest))).ReadMIMEHeader()
	for _, name := range []string{"Call-Id", "I"} {
		if v := h.Get(name); v != "" {
			return v
		}
	}
	return ""
}
