package msrp_test

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"latchkey/msrp"
)

// F44, B4.03, B4.07, B4.10, B4.12: which response a request gets, and which gets none. The frame behind
// each one is answered, so nothing else came between.
func TestRequestsAreAnsweredByTheRules(t *testing.T) {
	const to, from, id = "To-Path: " + ourURI + "\n", "From-Path: " + peerURI + "\n", "Message-ID: m1\n"
	other := strings.Replace(to, "ourSide", "nobody", 1)
	plain := "Content-Type: text/plain\n\nx\n"
	req := func(method, fields string) string {
		return "MSRP 1test " + method + "\n" + fields + "-------1test$\n"
	}
	for _, c := range []struct{ name, in, want string }{
		{"SEND", req("SEND", to+from+id+plain), "200"},
		{"empty SEND", req("SEND", to+from+id+"Byte-Range: 1-0/0\n"), "200"},
		{"empty SEND with an empty line", req("SEND", to+from+id+"Byte-Range: 1-0/0\n\n\n"), "200"},
		{"unknown To-Path", req("SEND", other+from+id+plain), "481"},
		{"To-Path in other case", req("SEND", strings.Replace(to, "ourSide", "OURSIDE", 1)+from+id+plain), "481"},
		{"To-Path on another port", req("SEND", strings.Replace(to, "7394", "7393", 1)+from+id+plain), "481"},
		{"missing From-Path", req("SEND", to+id+plain), "400"},
		{"missing To-Path", req("SEND", from+id+plain), "400"},
		{"no paths", req("SEND", id+plain), "400"},
		{"From-Path first", req("SEND", from+to+id+plain), "400"},
		{"missing Message-ID", req("SEND", to+from+plain), "400"},
		{"body without type", req("SEND", to+from+id+"\nx\n"), "400"},
		{"bad Byte-Range", req("SEND", to+from+id+"Byte-Range: 5\n"+plain), "400"},
		{"unknown method", req("FOO", to+from+id), "501"},
		{"unknown method with a body", req("FOO", to+from+id+plain), "501"},
		{"AUTH, which is for relays", req("AUTH", to+from), "501"},
		{"method in lower case", req("send", to+from+id+plain), "400"},
		{"unknown header", req("SEND", to+from+"X-New: y\n"+id+plain), "200"},
		{"unlisted type", req("SEND", to+from+id+"Content-Type: image/png\n\nx\n"), "415"},
		{"listed type with parameters", req("SEND", to+from+id+"Content-Type: Text/Plain;charset=utf-8\n\nx\n"), "200"},
		{"too large by its total", req("SEND", to+from+id+"Byte-Range: 1-1/101\n"+plain), "413"},
		{"too large by its bytes", req("SEND", to+from+id+"Content-Type: text/plain\n\n"+strings.Repeat("x", 101)+"\n"), "413"},
		{"too far ahead", req("SEND", to+from+id+"Byte-Range: 101-*/*\n"+plain), "413"},
		{"refused by the handler", req("SEND", to+from+id+"Content-Type: text/plain\n\nrefuse\n"), "423"},
		{"failed in the handler", req("SEND", to+from+id+"Content-Type: text/plain\n\nfail\n"), "403"},
		{"no answer wanted", req("SEND", to+from+id+"Failure-Report: no\n"+plain), ""},
		{"no answer wanted, unknown To-Path", req("SEND", other+from+id+"Failure-Report: no\n"+plain), ""},
		{"no answer wanted, bad request", req("SEND", to+id+"Failure-Report: no\n"+plain), ""},
		{"no answer wanted, unlisted type", req("SEND", to+from+id+"Failure-Report: no\nContent-Type: image/png\n\nx\n"), ""},
		{"no answer wanted, refused", req("SEND", to+from+id+"Failure-Report: no\nContent-Type: text/plain\n\nrefuse\n"), ""},
		{"errors wanted, success", req("SEND", to+from+id+"Failure-Report: partial\n"+plain), ""},
		{"errors wanted, unlisted type", req("SEND", to+from+id+"Failure-Report: partial\nContent-Type: image/png\n\nx\n"), "415"},
		{"errors wanted, unknown To-Path", req("SEND", other+from+id+"Failure-Report: partial\n"+plain), "481"},
		{"answer wanted", req("SEND", to+from+id+"Failure-Report: yes\n"+plain), "200"},
		{"REPORT", req("REPORT", to+from+id+"Status: 000 200 OK\n"), ""},
		{"REPORT for nobody", req("REPORT", other+from+id+"Status: 000 200 OK\n"), ""},
		{"REPORT of a failure of an unknown message", req("REPORT", to+from+id+"Byte-Range: 1-1/1\nStatus: 000 408 Timeout\n"), ""},
		{"REPORT without From-Path", req("REPORT", to+id+"Status: 000 200 OK\n"), ""},
		{"REPORT without status", req("REPORT", to+from+id), ""},
		{"REPORT in another namespace", req("REPORT", to+from+id+"Status: 001 408\n"), ""},
		{"response to nothing", "MSRP 1test 200 OK\n" + to + from + "-------1test$\n", ""},
		{"id with a control character", strings.ReplaceAll(req("SEND", to+from+id+plain), "1test", "1\x07test"), "400"},
		{"id that is too short", strings.ReplaceAll(req("SEND", to+from+id+plain), "1test", "1te"), "400"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newInbox()
			b.answer = func(m *msrp.IncomingMessage) error {
				switch body, _ := io.ReadAll(m.Body); string(body) {
				case "refuse":
					return &msrp.StatusError{Code: 423, Comment: "Not so"}
				case "fail":
					return errors.New("disk full")
				}
				return nil
			}
			s, p := active(t, msrp.SessionOptions{Handler: b, AcceptTypes: []string{"message/cpim", "text/*"}, MaxSize: 100})
			next := make(chan struct{})
			go func() {
				p.write(c.in)
				<-next
				p.bind("2next")
			}()
			if c.want == "" {
				close(next)
			} else {
				f := p.read()
				if !strings.HasPrefix(f.what, c.want+" ") || f.flag != '$' || f.hasBody || !strings.HasPrefix(c.in, "MSRP "+f.tid+" ") {
					t.Errorf("got %+v, want %s", f, c.want)
				}
				if len(f.fields) != 2 || !strings.HasPrefix(f.fields[0], "To-Path: ") || !strings.HasPrefix(f.fields[1], "From-Path: ") {
					t.Errorf("headers are %q", f.fields)
				}
				if strings.Contains(c.in, from) && f.get("To-Path") != peerURI {
					t.Errorf("To-Path is %q, want the sender's", f.get("To-Path"))
				}
				close(next)
			}
			p.expect("2next", "200")
			if s.Err() != nil {
				t.Errorf("the session is over: %v", s.Err())
			}
			_ = s.Close()
			p.closed()
		})
	}
}

// B4.10: the response to a SEND goes one hop; a REPORT all the way (B4.12). RFC 4975 §7.2, §7.1.3.
func TestResponsesGoOneHopAndReportsAllTheWay(t *testing.T) {
	_, p := active(t, msrp.SessionOptions{Handler: newInbox()})
	p.from = "msrp://relay.example:2855/r;tcp " + peerURI
	go p.send("1test", "m1", "Byte-Range: 1-1/1\n", "Success-Report: yes\n", "x", '$')
	if f := p.expect("1test", "200"); f.get("To-Path") != "msrp://relay.example:2855/r;tcp" || f.get("From-Path") != ourURI {
		t.Errorf("response %+v", f)
	}
	f := p.read()
	if f.what != "REPORT" || f.get("To-Path") != p.from || f.get("From-Path") != ourURI || f.get("Message-ID") != "m1" || f.get("Byte-Range") != "1-1/1" || f.get("Status") != "000 200 OK" || f.hasBody || f.flag != '$' {
		t.Errorf("report %+v", f)
	}
	go p.write("MSRP 2test FOO\nTo-Path: " + p.us + "\nFrom-Path: " + p.from + "\n-------2test$\n")
	if f := p.expect("2test", "501"); f.get("To-Path") != p.from {
		t.Errorf("response to another method: %+v", f)
	}
}

// F46, B4.12: one REPORT covers all bytes, whichever chunk came last; none where none is asked for.
func TestSuccessIsReportedOverAllChunks(t *testing.T) {
	for _, c := range []struct {
		name   string
		order  []int
		fields string
		want   bool
	}{
		{"in order", []int{0, 1, 2}, "Success-Report: yes\n", true},
		{"out of order", []int{2, 0, 1}, "Success-Report: yes\n", true},
		{"no responses wanted", []int{0, 1, 2}, "Success-Report: yes\nFailure-Report: no\n", true},
		{"not asked for", []int{0, 1, 2}, "", false},
		{"declined", []int{0, 1, 2}, "Success-Report: no\n", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newInbox()
			_, p := active(t, msrp.SessionOptions{Handler: b})
			go func() {
				for _, i := range c.order {
					flag := byte('+')
					if i == 2 {
						flag = '$'
					}
					p.send(fmt.Sprintf("%dtest", i), "m1", fmt.Sprintf("Byte-Range: %d-%d/9\n", 3*i+1, 3*i+3), c.fields, "abcdefghi"[3*i:3*i+3], flag)
				}
				p.bind("last")
			}()
			var reports []frame
			for last := false; !last || len(reports) == 0 && c.want; {
				f := p.read()
				last = last || f.tid == "last"
				switch {
				case f.what == "REPORT":
					reports = append(reports, f)
				case strings.Contains(c.fields, "Failure-Report: no") && f.tid != "last":
					t.Errorf("answered by %+v", f)
				}
			}
			if got := b.next(t); got != "abcdefghi" {
				t.Errorf("got %q", got)
			}
			if len(reports) > 1 || (len(reports) == 1) != c.want {
				t.Fatalf("reports %+v, want one: %v", reports, c.want)
			}
			if c.want && (reports[0].get("Byte-Range") != "1-9/9" || reports[0].get("Status") != "000 200 OK" || reports[0].get("Message-ID") != "m1") {
				t.Errorf("report %+v", reports[0])
			}
		})
	}
}

// piece is one chunk of a message.
type piece struct {
	at    int // 0: no Byte-Range
	text  string
	flag  byte
	total string // "": *
}

// F45, B4.09: what a message is, by its chunks.
func TestChunksBecomeTheMessage(t *testing.T) {
	for _, c := range []struct {
		name   string
		chunks []piece
		want   string // "-": none
	}{
		{"one", []piece{{1, "abc", '$', "3"}}, "abc"},
		{"one without range", []piece{{0, "abc", '$', ""}}, "abc"},
		{"an empty one", []piece{{1, "", '$', "0"}}, ""},
		{"three", []piece{{1, "abc", '+', "9"}, {4, "def", '+', "9"}, {7, "ghi", '$', "9"}}, "abcdefghi"},
		{"backwards", []piece{{7, "ghi", '$', ""}, {4, "def", '+', ""}, {1, "abc", '+', ""}}, "abcdefghi"},
		{"mixed", []piece{{4, "def", '+', ""}, {7, "ghi", '$', ""}, {1, "abc", '+', ""}}, "abcdefghi"},
		{"twice the same", []piece{{1, "abc", '+', ""}, {1, "abc", '+', ""}, {4, "def", '$', ""}}, "abcdef"},
		{"twice the same ahead", []piece{{4, "def", '+', ""}, {4, "def", '+', ""}, {7, "g", '$', ""}, {1, "abc", '+', ""}}, "abcdefg"},
		{"overlap behind: the last wins", []piece{{1, "abcdef", '+', ""}, {3, "XYZ", '+', ""}, {7, "g", '$', ""}}, "abXYZfg"},
		{"overlap at the edge", []piece{{1, "abcdef", '+', ""}, {5, "XYZ", '$', ""}}, "abcdXYZ"},
		{"overlap ahead: the last wins", []piece{{4, "def", '+', ""}, {5, "X", '+', ""}, {7, "g", '$', ""}, {1, "abc", '+', ""}}, "abcdXfg"},
		{"overlap ahead, wider", []piece{{5, "e", '+', ""}, {4, "XYZ", '+', ""}, {7, "g", '$', ""}, {1, "abc", '+', ""}}, "abcXYZg"},
		{"overlap ahead, shorter", []piece{{4, "def", '+', ""}, {4, "X", '+', ""}, {7, "g", '$', ""}, {1, "abc", '+', ""}}, "abcXefg"},
		{"overlap ahead, at its end", []piece{{4, "def", '+', ""}, {6, "XY", '$', ""}, {1, "abc", '+', ""}}, "abcdeXY"},
		{"what comes later covers what was held", []piece{{3, "cde", '+', ""}, {1, "VWXYZ", '+', ""}, {6, "f", '$', ""}}, "VWXYZf"},
		{"what comes later covers the beginning of what was held", []piece{{3, "cde", '+', ""}, {1, "WXY", '+', ""}, {6, "f", '$', ""}}, "WXYdef"},
		{"range-end lies", []piece{{1, "abc", '+', "6"}, {4, "def", '$', "6"}}, "abcdef"},
		{"total lies", []piece{{1, "abc", '+', "3"}, {4, "def", '$', "3"}}, "abcdef"},
		{"the chunk with $ tells the end", []piece{{1, "abcdef", '+', ""}, {4, "", '$', ""}}, "abc"},
		{"the chunk with $ tells the end of what is held", []piece{{4, "defghi", '+', ""}, {6, "X", '$', ""}, {1, "abc", '+', ""}}, "abcdeX"},
		{"what comes behind the end is no part", []piece{{4, "d", '$', ""}, {5, "xyz", '+', ""}, {1, "abc", '+', ""}}, "abcd"},
		{"an empty last chunk", []piece{{1, "abc", '+', ""}, {4, "", '$', ""}}, "abc"},
		{"given up", []piece{{1, "abc", '+', ""}, {4, "", '#', ""}}, "-"},
		{"given up, and once more from the beginning", []piece{{1, "abc", '+', ""}, {4, "d", '#', ""}, {1, "xyz", '$', ""}}, "xyz"},
		{"given up, and more of it", []piece{{1, "abc", '+', ""}, {4, "", '#', ""}, {4, "def", '$', ""}}, "-"},
		{"a gap", []piece{{1, "abc", '+', ""}, {5, "e", '$', ""}}, "-"},
		{"body with look-alikes", []piece{{1, "a\r\n-------9test$\r\n-------0test", '+', ""}, {31, "!\r\nMSRP", '$', ""}}, "a\r\n-------9test$\r\n-------0test!\r\nMSRP"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, opt := range []string{"", "octet by octet"} {
				b := newInbox()
				_, p := active(t, msrp.SessionOptions{Handler: b})
				go func() {
					for i, k := range c.chunks {
						span := fmt.Sprintf("Byte-Range: %d-*/%s\n", k.at, orStar(k.total))
						if c.name == "range-end lies" {
							span = strings.Replace(span, "*", "99", 1)
						}
						if k.at == 0 {
							span = ""
						}
						tid := fmt.Sprintf("%dtest", i)
						text := strings.ReplaceAll(p.sendText(tid, "m1", span, "Content-Type: text/plain\n\n"), "\n", "\r\n") + k.text + "\r\n-------" + tid + string(k.flag) + "\r\n"
						if opt == "" {
							_, _ = io.WriteString(p.nc, text)
							continue
						}
						_, _ = io.Copy(p.nc, iotest.OneByteReader(strings.NewReader(text)))
					}
					p.bind("last")
				}()
				for p.read().tid != "last" {
				}
				if c.want == "-" {
					// The next message is the first that comes.
					go p.send("more", "m2", "", "", "next", '$')
					p.expect("more", "200")
					if got := b.next(t); got != "next" {
						t.Errorf("%s: got %q, want nothing", opt, got)
					}
					continue
				}
				if got := b.next(t); got != c.want || len(b.all()) != 1 {
					t.Errorf("%s: got %q, want %q once", opt, b.all(), c.want)
				}
			}
		})
	}
}

func orStar(s string) string {
	if s == "" {
		return "*"
	}
	return s
}

// B4.14: a message that is sent again is taken once; one that was refused may be tried again.
func TestRepeatsAreTakenOnce(t *testing.T) {
	b := newInbox()
	refuse := atomic.Bool{}
	b.answer = func(m *msrp.IncomingMessage) error {
		body, _ := io.ReadAll(m.Body)
		b.got <- string(body)
		if refuse.Load() {
			return &msrp.StatusError{Code: 413, Comment: "Later"}
		}
		return nil
	}
	_, p := active(t, msrp.SessionOptions{Handler: b})
	exchange := func(tid, id, code string) {
		t.Helper()
		go p.send(tid, id, "Byte-Range: 1-1/1\n", "Success-Report: yes\n", "x", '$')
		p.expect(tid, code)
		if code == "200" {
			if f := p.read(); f.what != "REPORT" || f.get("Byte-Range") != "1-1/1" {
				t.Errorf("report %+v", f)
			}
		}
	}
	exchange("1test", "m1", "200")
	exchange("2test", "m1", "200")
	refuse.Store(true)
	exchange("3test", "m2", "413")
	refuse.Store(false)
	exchange("4test", "m2", "200")
	exchange("5test", "m2", "200")
	for i := 6; i < 200; i++ { // a limited number is remembered
		exchange(fmt.Sprintf("%dtest", i), fmt.Sprint("m", i), "200")
	}
	if n := len(b.got); n != 3+194 {
		t.Errorf("the handler saw %d messages, want 197", n)
	}
}

// B4.14, X4: a repeat that comes while the Handler is still at it gets the same answer, not an early 200.
func TestRepeatWaitsForTheFirst(t *testing.T) {
	b := newInbox()
	release := make(chan error)
	b.answer = func(m *msrp.IncomingMessage) error { return <-release }
	_, p := active(t, msrp.SessionOptions{Handler: b})
	go func() {
		p.send("1test", "m1", "", "", "x", '$')
		p.send("2test", "m1", "", "", "x", '$')
		p.bind("3test")
	}()
	p.expect("3test", "200") // an empty SEND is not behind them
	release <- &msrp.StatusError{Code: 403, Comment: "No"}
	p.expect("1test", "403")
	p.expect("2test", "403")
}

// B4.13: after a 413 the rest of a message is refused likewise, without a new message or memory; later ones are taken.
func TestRefusedMessageDoesNotJamTheSession(t *testing.T) {
	b := newInbox()
	_, p := active(t, msrp.SessionOptions{Handler: b, MaxSize: 10})
	for i := range 40 { // more than may be under way at once
		id := fmt.Sprint("big", i)
		go func() {
			p.send("1test", id, "Byte-Range: 1-*/*\n", "", "0123456789abc", '+')
			p.send("2test", id, "Byte-Range: 14-*/*\n", "", "0123456789abc", '+')
			p.send("3test", id, "Byte-Range: 27-*/*\n", "", "x", '#')
		}()
		p.expect("1test", "413")
		p.expect("2test", "413")
		p.read() // the abort
	}
	go p.send("4test", "small", "", "", "small", '$')
	p.expect("4test", "200")
	if got := b.all(); !slices.Equal(got, []string{"small"}) {
		t.Errorf("got %q", got)
	}
}

// Messages that never end make room after a minute; before that, new ones are refused.
func TestAbandonedMessagesMakeRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newInbox()
		_, p := active(t, msrp.SessionOptions{Handler: b})
		for i := range 32 {
			go p.send("1test", fmt.Sprint("part", i), "Byte-Range: 1-*/*\n", "", "x", '+')
			p.expect("1test", "200")
		}
		go p.send("2test", "m1", "", "", "one more", '$')
		p.expect("2test", "413")
		time.Sleep(61 * time.Second)
		go p.send("3test", "m2", "", "", "one more", '$')
		p.expect("3test", "200")
		if got := b.all(); !slices.Equal(got, []string{"one more"}) {
			t.Errorf("got %q", got)
		}
	})
}

// F45: a single large chunk goes through in bounded memory, at the speed of the one who reads it.
func TestLargeChunkIsHeldBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size = 64 << 20
		b := newInbox()
		begin, got := make(chan struct{}), make(chan int64, 1)
		b.answer = func(m *msrp.IncomingMessage) error {
			<-begin
			n, err := io.Copy(io.Discard, m.Body)
			got <- n
			return err
		}
		_, p := active(t, msrp.SessionOptions{Handler: b})
		var wrote atomic.Int64
		go func() {
			p.write(p.sendText("1test", "m1", "Byte-Range: 1-*/67108864\n", "Content-Type: a/b\n\n"))
			block := make([]byte, 32<<10)
			for range size / len(block) {
				_, _ = p.nc.Write(block)
				wrote.Add(int64(len(block)))
			}
			p.write("\n-------1test$\n")
		}()
		synctest.Wait()
		if n := wrote.Load(); n > 512<<10 {
			t.Errorf("%d octets were taken though nobody reads them", n)
		}
		close(begin)
		p.expect("1test", "200")
		if n := <-got; n != size {
			t.Errorf("%d octets came, want %d", n, size)
		}
	})
}

// B4.13: who wants no more of a large message says so while it is still coming, so that the sender can stop.
func TestLargeMessageIsRefusedAtOnce(t *testing.T) {
	for _, c := range []struct {
		name string
		opt  msrp.SessionOptions
		code string
	}{
		{"beyond max-size", msrp.SessionOptions{MaxSize: 200 << 10, Handler: newInbox()}, "413"},
		{"by the handler", msrp.SessionOptions{Handler: &inbox{answer: func(*msrp.IncomingMessage) error { return &msrp.StatusError{Code: 415, Comment: "Not that"} }}}, "415"},
		{"too far ahead", msrp.SessionOptions{Handler: newInbox()}, "413"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, p := active(t, c.opt)
			stop, stopped := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(stopped)
				at := "1"
				if c.name == "too far ahead" {
					at = "2"
				}
				p.write(p.sendText("1test", "m1", "Byte-Range: "+at+"-*/*\n", "Content-Type: a/b\n\n"))
				for {
					select {
					case <-stop:
						p.write("\n-------1test#\n")
						p.bind("2next")
						return
					default:
						_, _ = p.nc.Write(make([]byte, 8<<10))
					}
				}
			}()
			p.expect("1test", c.code)
			close(stop)
			p.expect("2next", "200") // the aborted chunk has had its answer
			<-stopped
		})
	}
}

// F45, B4.09: the Handler of a large message sees that it is given up, and how.
func TestHandlerSeesTheEndOfALargeMessage(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(*msrp.Session, *raw)
		want func(error) bool
	}{
		{"aborted", func(_ *msrp.Session, p *raw) {
			p.send("2test", "m1", "Byte-Range: 100001-*/*\n", "", "", '#')
		}, func(err error) bool { return err == msrp.ErrAborted }},
		{"aborted without body", func(_ *msrp.Session, p *raw) {
			p.write(p.sendText("2test", "m1", "Byte-Range: 100001-*/*\n", "") + "-------2test#\n")
		}, func(err error) bool { return err == msrp.ErrAborted }},
		{"session closed", func(s *msrp.Session, _ *raw) { _ = s.Close() }, func(err error) bool { return err == msrp.ErrClosed }},
		{"connection lost", func(_ *msrp.Session, p *raw) { _ = p.nc.Close() }, func(err error) bool { return errors.Is(err, io.EOF) && err != io.EOF }},
		{"whole", func(_ *msrp.Session, p *raw) {
			p.send("2test", "m1", "Byte-Range: 100001-*/*\n", "", "end", '$')
		}, func(err error) bool { return err == nil }},
	} {
		t.Run(c.name, func(t *testing.T) {
			ended := make(chan error, 1)
			b := &inbox{answer: func(m *msrp.IncomingMessage) error {
				_, err := io.Copy(io.Discard, m.Body)
				ended <- err
				return err
			}}
			s, p := active(t, msrp.SessionOptions{Handler: b})
			go p.send("1test", "m1", "Byte-Range: 1-*/*\n", "", strings.Repeat("x", 100000), '+')
			p.expect("1test", "200")
			go c.end(s, p)
			select {
			case err := <-ended:
				if !c.want(err) {
					t.Errorf("the body ended with %v", err)
				}
			case <-time.After(patience):
				t.Error("the body does not end")
			}
			if c.name == "aborted" || c.name == "aborted without body" || c.name == "whole" {
				p.expect("2test", "200")
			}
		})
	}
}

// B4.18: old clients match on the session id alone; so do we, where asked to.
func TestLenientSessionMatchesOnTheSessionID(t *testing.T) {
	for _, lenient := range []bool{true, false} {
		l := listen(t, msrp.ListenerOptions{})
		s := passive(t, l, msrp.SessionOptions{Handler: newInbox(), Lenient: lenient})
		p := dial(t, l, s)
		p.us = "msrp://sbc.example:9999/" + s.Local().SessionID + ";tcp"
		p.bind("1test")
		want := map[bool]string{true: "200", false: "481"}[lenient]
		p.expect("1test", want)
		p.bind("2test")
		p.expect("2test", want)
		p.us = "msrp://sbc.example:9999/" + strings.ToUpper(s.Local().SessionID) + "x;tcp"
		p.bind("3test")
		p.expect("3test", "481")
	}
}
