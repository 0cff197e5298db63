package sipua

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/coder/websocket"
)

// corpus are the messages of RFC 4475 and RFC 5118, byte for byte as the archives in their appendices have them, and what becomes of each at
// an endpoint whose handler answers all with 200: a code, or 0 where there is no answer. tcp is said where it differs: -1 means that the
// connection is closed without a word. test.dat is in the archive, but not in the text.
var corpus = []struct {
	file, section string
	udp           int
	tcp           int // 0: as udp
}{
	{"rfc4475/wsinv", "3.1.1.1", 200, 0}, {"rfc4475/intmeth", "3.1.1.2", 501, 0}, {"rfc4475/esc01", "3.1.1.3", 200, 0}, {"rfc4475/escnull", "3.1.1.4", 200, 0},
	{"rfc4475/esc02", "3.1.1.5", 200, 0}, {"rfc4475/lwsdisp", "3.1.1.6", 200, 0}, {"rfc4475/longreq", "3.1.1.7", 200, 0}, {"rfc4475/dblreq", "3.1.1.8", 200, 0},
	{"rfc4475/semiuri", "3.1.1.9", 200, 0}, {"rfc4475/transports", "3.1.1.10", 200, 0}, {"rfc4475/mpart01", "3.1.1.11", 200, 0}, {"rfc4475/unreason", "3.1.1.12", 0, 0},
	{"rfc4475/noreason", "3.1.1.13", 0, 0},
	{"rfc4475/badinv01", "3.1.2.1", 400, 0}, {"rfc4475/clerr", "3.1.2.2", 400, -1}, {"rfc4475/ncl", "3.1.2.3", 400, 0}, {"rfc4475/scalar02", "3.1.2.4", 400, 0},
	{"rfc4475/scalarlg", "3.1.2.5", 0, 0}, {"rfc4475/quotbal", "3.1.2.6", 400, 0}, {"rfc4475/ltgtruri", "3.1.2.7", 400, 0}, {"rfc4475/lwsruri", "3.1.2.8", 400, 0},
	{"rfc4475/lwsstart", "3.1.2.9", 400, 0}, {"rfc4475/trws", "3.1.2.10", 400, 0}, {"rfc4475/escruri", "3.1.2.11", 400, 0}, {"rfc4475/baddate", "3.1.2.12", 200, 0},
	{"rfc4475/regbadct", "3.1.2.13", 400, 0}, {"rfc4475/badaspec", "3.1.2.14", 400, 0}, {"rfc4475/baddn", "3.1.2.15", 400, 0}, {"rfc4475/badvers", "3.1.2.16", 505, 0},
	{"rfc4475/mismatch01", "3.1.2.17", 400, 0}, {"rfc4475/mismatch02", "3.1.2.18", 501, 0}, {"rfc4475/bigcode", "3.1.2.19", 0, 0},
	{"rfc4475/badbranch", "3.2.1", 400, 0},
	{"rfc4475/insuf", "3.3.1", 400, 0}, {"rfc4475/unkscm", "3.3.2", 416, 0}, {"rfc4475/novelsc", "3.3.3", 416, 0}, {"rfc4475/unksm2", "3.3.4", 200, 0},
	{"rfc4475/bext01", "3.3.5", 200, 0}, {"rfc4475/invut", "3.3.6", 200, 0}, {"rfc4475/regaut01", "3.3.7", 200, 0}, {"rfc4475/multi01", "3.3.8", 400, 0},
	{"rfc4475/mcl01", "3.3.9", 400, 0}, {"rfc4475/bcast", "3.3.10", 0, 0}, {"rfc4475/zeromf", "3.3.11", 200, 0}, {"rfc4475/cparam01", "3.3.12", 200, 0},
	{"rfc4475/cparam02", "3.3.13", 200, 0}, {"rfc4475/regescrt", "3.3.14", 200, 0}, {"rfc4475/sdp01", "3.3.15", 200, 0},
	{"rfc4475/inv2543", "3.4.1", 400, 0}, // RFC 2543's calls have no tag, and a dialog of ours needs one
	{"rfc4475/test", "", 0, 0},           // its first line says no version
	{"rfc5118/ipv6-good", "4.1", 200, 0}, {"rfc5118/ipv6-bad", "4.2", 400, 0}, {"rfc5118/port-ambiguous", "4.3", 200, 0}, {"rfc5118/port-unambiguous", "4.4", 200, 0},
	{"rfc5118/via-received-param-with-delim", "4.5", 200, 0}, {"rfc5118/via-received-param-no-delim", "4.5", 200, 0}, {"rfc5118/ipv6-in-sdp", "4.6", 200, 0},
	{"rfc5118/mult-ip-in-header", "4.7", 200, 0}, {"rfc5118/mult-ip-in-sdp", "4.8", 200, 0}, {"rfc5118/ipv4-mapped-ipv6", "4.9", 200, 0},
	{"rfc5118/ipv6-bug-abnf-3-colons", "4.10", 200, 0}, {"rfc5118/ipv6-correct-abnf-2-colons", "4.10", 200, 0},
}

func corpusFile(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name+".dat"))
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	if strings.HasPrefix(name, "rfc5118/") { // whose archive has lost the CRs, and whose lengths count something else
		head, body, _ := strings.Cut(strings.ReplaceAll(text, "\n", "\r\n"), "\r\n\r\n")
		i := strings.Index(head, "Content-Length: ")
		text = head[:i] + fmt.Sprint("Content-Length: ", len(body)) + "\r\n\r\n" + body
	}
	if !strings.Contains(text, "\r\n\r\n") {
		text += "\r\n" // baddn has an empty line in the text, not in the archive
	}
	return text
}

// The table has every file of the corpora.
func TestCorpusIsComplete(t *testing.T) {
	have := map[string]bool{}
	for _, c := range corpus {
		have[c.file] = true
	}
	files, _ := filepath.Glob("testdata/rfc[0-9]*/*.dat")
	for _, f := range files {
		if f = strings.TrimSuffix(strings.TrimPrefix(f, "testdata/"), ".dat"); !have[f] {
			t.Errorf("%s has no row", f)
		}
	}
	if len(files) != 50+12 || len(corpus) != len(files) {
		t.Errorf("%d files, %d rows", len(files), len(corpus))
	}
}

// F65, B2.11: the messages of RFC 4475 and RFC 5118 in datagrams. Their Vias name other ports, so the sender has those, on an address of its
// own; what has no answer is followed by a question that has.
func TestCorpusOverUDP(t *testing.T) {
	t.Parallel()
	e := listen(t, func(tx *Transaction) { _ = tx.Respond(200, "") }, "udp:127.0.0.1:0")
	in := make(chan string, 64)
	var from net.PacketConn
	ip := fmt.Sprintf("127.65.%d.%d", os.Getpid()>>8&0xff, max(os.Getpid()&0xff, 1))
	for _, port := range []string{"5060", "5050", "5070", "6050", "19823"} {
		conn, err := net.ListenPacket("udp", net.JoinHostPort(ip, port))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		if port == "5060" {
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
	to, _ := net.ResolveUDPAddr("udp", e.at("udp"))
	say := func(text string) { _, _ = from.WriteTo([]byte(text), to) }
	p := &peer{addr: ip + ":5060"}
	seen := map[string]bool{}
	for _, c := range corpus {
		text := corpusFile(t, c.file)
		if key := transactionOf(text); seen[key] { // it would be a repeat of the one before
			e = listen(t, func(tx *Transaction) { _ = tx.Respond(200, "") }, "udp:127.0.0.1:0")
			to, _ = net.ResolveUDPAddr("udp", e.at("udp"))
			clear(seen)
		} else {
			seen[key] = true
		}
		say(text)
		probe := p.options("after-" + strings.ReplaceAll(c.file, "/", "-"))
		if c.udp == 0 {
			say(probe)
		}
		for got := false; !got; {
			select {
			case a := <-in:
				if seen[a] || strings.HasPrefix(a, "SIP/2.0 100 ") {
					continue // a repeat of what is answered, or a handler is slow
				}
				seen[a], got = true, true
				switch {
				case c.udp == 0:
					if !strings.Contains(a, "after-") {
						t.Errorf("%s (§%s): %q, want silence", c.file, c.section, firstLine(a))
					}
				case !strings.HasPrefix(a, fmt.Sprintf("SIP/2.0 %d ", c.udp)):
					t.Errorf("%s (§%s): %q, want %d", c.file, c.section, firstLine(a), c.udp)
				default:
					checkEcho(t, c.file, text, a)
				}
			case <-time.After(patience):
				t.Fatalf("%s (§%s): no answer, want %d", c.file, c.section, c.udp)
			}
		}
	}
}

// checkEcho compares what a response must repeat (RFC 3261 §8.2.6.2), blanks and case of names aside.
func checkEcho(t *testing.T, file, req, res string) {
	t.Helper()
	for _, names := range []string{"call-id i", "cseq", "from f"} {
		a, b := fieldOf(req, names), fieldOf(res, names)
		if a != b && file != "rfc4475/wsinv" { // whose zeros before a number and quotes are written another way
			t.Errorf("%s: %s came as %q and went as %q", file, names, a, b)
		}
	}
	vias := func(text string) int {
		return strings.Count(squeeze(text), "SIP/2.0/") - strings.Count(firstLine(text), "SIP/2.0/")
	}
	if a, b := vias(strings.SplitN(req, "\r\n\r\n", 2)[0]), vias(res); a != b && file != "rfc4475/badinv01" {
		t.Errorf("%s: %d Vias came and %d went", file, a, b)
	}
	if to := fieldOf(res, "to t"); fieldOf(req, "to t") != "" && !strings.Contains(to, "tag=") {
		t.Errorf("%s: the answer has no To tag: %q", file, to)
	}
}

// transactionOf is what makes two requests the same (RFC 3261 §17.2.3), more or less.
func transactionOf(text string) string {
	return fieldOf(text, "via v") + strings.Trim(fieldOf(text, "cseq"), "0123456789")
}

func squeeze(s string) string {
	s = strings.NewReplacer("\r\n ", "", "\r\n\t", "").Replace(s)
	return strings.NewReplacer(" ", "", "\t", "").Replace(s)
}

// fieldOf is a field's value without blanks, brackets and quotes.
func fieldOf(text, names string) string {
	for _, l := range strings.Split(strings.SplitN(squeeze(strings.ReplaceAll(text, "\r\n ", "")), "\r\n\r\n", 2)[0], "\r\n")[1:] {
		name, value, _ := strings.Cut(l, ":")
		for _, n := range strings.Fields(names) {
			if strings.EqualFold(name, n) {
				return strings.NewReplacer("<", "", ">", "", `"`, "").Replace(value)
			}
		}
	}
	return ""
}

// F65, B2.11: the same in streams, where the length alone says where a message ends.
func TestCorpusOverTCP(t *testing.T) {
	t.Parallel()
	corpusInStreams(t, "tcp")
}

// F65, B2.11: and over TLS, whatever the Vias say.
func TestCorpusOverTLS(t *testing.T) {
	t.Parallel()
	corpusInStreams(t, "tls")
}

// readHead reads to the end of a header, or as far as it comes.
func readHead(r *bufio.Reader) string {
	var head strings.Builder
	for !strings.HasSuffix(head.String(), "\r\n\r\n") {
		line, err := r.ReadString('\n')
		if err != nil {
			break
		}
		head.WriteString(line)
	}
	return head.String()
}

func corpusInStreams(t *testing.T, network string) {
	a := newAuthority(t)
	serve := func() *Endpoint {
		return listenTLS(t, a.shows(a.issue("127.0.0.1")), "", func(tx *Transaction) { _ = tx.Respond(200, "") }, network+":127.0.0.1:0")
	}
	e := serve()
	p := &peer{addr: "127.0.0.1:9"}
	seen := map[string]bool{}
	for _, c := range corpus {
		want := c.udp
		if c.tcp != 0 {
			want = c.tcp
		}
		text := corpusFile(t, c.file)
		if key := transactionOf(text); seen[key] {
			e = serve()
			clear(seen)
		} else {
			seen[key] = true
		}
		if c.file == "rfc4475/dblreq" {
			text, _, _ = strings.Cut(text, "INVITE") // here the other octets are a message
		}
		conn, err := net.Dial("tcp", e.at(network))
		if network == "tls" && err == nil {
			conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
		}
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(patience))
		r := bufio.NewReader(conn)
		_, _ = io.WriteString(conn, text)
		// Where the next message begins isn't known, or the first one is none.
		closes := strings.Contains(" rfc4475/ncl rfc4475/mcl01 rfc4475/inv2543 rfc4475/clerr rfc4475/bigcode rfc4475/test ", " "+c.file+" ")
		if want == 0 && !closes {
			_, _ = io.WriteString(conn, p.options("after-"+strings.ReplaceAll(c.file, "/", "-")))
		}
		if want < 0 {
			_ = conn.(interface{ CloseWrite() error }).CloseWrite() // or it would wait for more
		}
		got := readHead(r)
		for strings.HasPrefix(got, "SIP/2.0 100 ") { // a handler is slow
			got = readHead(r)
		}
		switch {
		case want > 0 && !strings.HasPrefix(got, fmt.Sprintf("SIP/2.0 %d ", want)), want < 0 && got != "":
			t.Errorf("%s (§%s): %q, want %d", c.file, c.section, firstLine(got), want)
		case want == 0 && !closes && !strings.Contains(got, "after-"):
			t.Errorf("%s (§%s): %q, want silence", c.file, c.section, firstLine(got))
		}
		if closes {
			if rest, err := io.ReadAll(r); err != nil || len(rest) > 0 {
				t.Errorf("%s (§%s): the connection isn't closed: %q, %v", c.file, c.section, rest, err)
			}
		}
		conn.Close()
	}
}

// F65, B2.09, B2.11, RFC 7118 §5: and over WebSocket, where each frame is one message, as a datagram is: text, or binary where a message
// is no UTF-8. What is answered goes in a text frame only if it is text.
func TestCorpusOverWebSocket(t *testing.T) {
	t.Parallel()
	for _, network := range []string{"ws", "wss"} {
		for _, kind := range []websocket.MessageType{websocket.MessageText, websocket.MessageBinary} {
			t.Run(network+" "+kind.String(), func(t *testing.T) { corpusInFrames(t, network, kind) })
		}
	}
}

// RFC 6455 §8.1, RFC 7118 §4.2: a message that is no UTF-8 comes and goes in a binary frame; in a text frame a client would close the connection.
func TestWhatIsNoTextIsABinaryFrame(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	e := listenTLS(t, a.shows(a.issue("127.0.0.1")), "", func(tx *Transaction) {
		res := tx.Response(200, "")
		res.SetBody(tx.Request.Body())
		_ = tx.Send(res)
	}, "ws:127.0.0.1:0")
	ws, err := dialSIP(t, e, "ws", &websocket.DialOptions{Subprotocols: []string{"sip"}})
	if err != nil {
		t.Fatal(err)
	}
	for i, body := range []string{"caf\xc3\xa9", "caf\xe9\x00"} {
		text := strings.Replace((&peer{addr: "127.0.0.1:9"}).options(fmt.Sprint("frame", i)), "\r\n\r\n", "\r\nContent-Type: text/plain\r\n\r\n", 1)
		text = strings.Replace(text, "Content-Length: 0", fmt.Sprint("Content-Length: ", len(body)), 1) + body
		if err := ws.Write(bounded(t), websocket.MessageBinary, []byte(text)); err != nil {
			t.Fatal(err)
		}
		kind, b, err := ws.Read(bounded(t))
		if err != nil || !strings.HasPrefix(string(b), "SIP/2.0 200 ") || !strings.HasSuffix(string(b), "\r\n\r\n"+body) || (kind == websocket.MessageText) != (i == 0) {
			t.Errorf("%q is answered in a frame of %v, %v: %q", body, kind, err, b)
		}
	}
}

func corpusInFrames(t *testing.T, network string, kind websocket.MessageType) {
	a := newAuthority(t)
	shown := a.shows(a.issue("127.0.0.1"))
	p := &peer{addr: "127.0.0.1:9"}
	var e *Endpoint
	var ws *websocket.Conn // as long as nothing ends it
	seen := map[string]bool{}
	for _, c := range corpus {
		text := corpusFile(t, c.file)
		if kind == websocket.MessageText && !utf8.ValidString(text) {
			continue // RFC 6455 §8.1: it can't be text
		}
		if key := transactionOf(text); e == nil || seen[key] {
			e = listenTLS(t, shown, "", func(tx *Transaction) { _ = tx.Respond(200, "") }, network+":127.0.0.1:0")
			clear(seen)
			ws = nil
		} else {
			seen[key] = true
		}
		if ws == nil {
			var err error
			if ws, err = dialSIP(t, e, network, &websocket.DialOptions{Subprotocols: []string{"sip"}}); err != nil {
				t.Fatal(err)
			}
		}
		_ = ws.Write(bounded(t), kind, []byte(text))
		if c.udp == 0 {
			_ = ws.Write(bounded(t), websocket.MessageText, []byte(p.options("after-"+strings.ReplaceAll(c.file, "/", "-"))))
		}
		as, b, err := ws.Read(bounded(t))
		for err == nil && strings.HasPrefix(string(b), "SIP/2.0 100 ") { // a handler is slow
			as, b, err = ws.Read(bounded(t))
		}
		switch got := string(b); {
		case c.udp > 0 && (err != nil || !strings.HasPrefix(got, fmt.Sprintf("SIP/2.0 %d ", c.udp))):
			t.Errorf("%s (§%s): %q, %v, want %d", c.file, c.section, firstLine(got), err, c.udp)
		case c.udp == 0 && err == nil && !strings.Contains(got, "after-"):
			t.Errorf("%s (§%s): %q, want silence", c.file, c.section, firstLine(got))
		case c.udp > 0:
			checkEcho(t, c.file, text, got)
		}
		if err == nil && (as == websocket.MessageText) != utf8.Valid(b) {
			t.Errorf("%s (§%s): answered in a frame of %v, which it is not: %q", c.file, c.section, as, b)
		}
		if err != nil {
			ws = nil
		}
	}
}
