package msrp_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"latchkey/msrp"
)

const paths = "To-Path: msrp://b.example:9/s1;tcp\r\nFrom-Path: msrp://a.example:8/s2;tcp\r\n"

// sendFrame is a SEND with a body, as it stands on the wire.
func sendFrame(tid, extra, body string, flag byte) string {
	return "MSRP " + tid + " SEND\r\n" + paths + "Message-ID: m1\r\n" + extra + "Content-Type: text/plain\r\n\r\n" + body + "\r\n-------" + tid + string(flag) + "\r\n"
}

type gotFrame struct {
	head *msrp.Head
	body string
	flag byte
	err  error
}

// readAll reads frames until an error that is no *StatusError.
func readAll(src io.Reader) (frames []gotFrame, end error) {
	r := msrp.NewReader(src)
	for {
		h, err := r.Next()
		var status *msrp.StatusError
		if err != nil && !errors.As(err, &status) {
			return frames, err
		}
		body, berr := io.ReadAll(r.Body())
		if berr != nil {
			return frames, berr
		}
		frames = append(frames, gotFrame{h, string(body), r.Flag(), err})
	}
}

// B4.06, B4.07, F45: framing is found in bytes, in whatever pieces they come.
func TestFramesAreReadAsTheyStand(t *testing.T) {
	for _, c := range []struct {
		name, in, body string
		flag           byte
	}{
		{"whole", sendFrame("a786hjs2", "", "Hello", '$'), "Hello", '$'},
		{"more to come", sendFrame("a786hjs2", "", "Hello", '+'), "Hello", '+'},
		{"given up", sendFrame("a786hjs2", "", "Hello", '#'), "Hello", '#'},
		{"empty body", sendFrame("a786hjs2", "", "", '$'), "", '$'},
		{"empty body without its CRLF", "MSRP a786hjs2 SEND\r\n" + paths + "Message-ID: m1\r\nContent-Type: a/b\r\n\r\n-------a786hjs2$\r\n", "", '$'},
		{"no body", "MSRP a786hjs2 SEND\r\n" + paths + "Message-ID: m1\r\nByte-Range: 1-0/0\r\n-------a786hjs2$\r\n", "", '$'},
		{"body with blank lines", sendFrame("a786hjs2", "", "\r\n\r\na\r\n\r\n", '$'), "\r\n\r\na\r\n\r\n", '$'},
		{"body with LF alone and NUL", sendFrame("a786hjs2", "", "a\nb\x00\xff\r", '$'), "a\nb\x00\xff\r", '$'},
		{"end-line with another flag", sendFrame("a786hjs2", "", "a\r\n-------a786hjs2!\r\nb", '$'), "a\r\n-------a786hjs2!\r\nb", '$'},
		{"end-line without CRLF", sendFrame("a786hjs2", "", "a\r\n-------a786hjs2$b", '$'), "a\r\n-------a786hjs2$b", '$'},
		{"end-line within a line", sendFrame("a786hjs2", "", "a-------a786hjs2$\r\nb", '$'), "a-------a786hjs2$\r\nb", '$'},
		{"end-line of another transaction", sendFrame("a786hjs2", "", "a\r\n-------b786hjs2$\r\nb", '$'), "a\r\n-------b786hjs2$\r\nb", '$'},
		{"six dashes", sendFrame("a786hjs2", "", "a\r\n------a786hjs2$\r\nb", '$'), "a\r\n------a786hjs2$\r\nb", '$'},
		{"eight dashes", sendFrame("a786hjs2", "", "a\r\n--------a786hjs2$\r\nb", '$'), "a\r\n--------a786hjs2$\r\nb", '$'},
		{"body that ends with the beginning of an end-line", sendFrame("a786hjs2", "", "a\r\n-------a786", '$'), "a\r\n-------a786", '$'},
		{"two look-alikes in a row", sendFrame("a786hjs2", "", "\r\n-------a786hjs2\r\n-------a786hjs2", '+'), "\r\n-------a786hjs2\r\n-------a786hjs2", '+'},
		{"look-alike at the very beginning", sendFrame("a786hjs2", "", "-------a786hjs2!x", '$'), "-------a786hjs2!x", '$'},
		{"longer than the buffer", sendFrame("a786hjs2", "", strings.Repeat("\r\n-------a786hjs", 9000), '$'), strings.Repeat("\r\n-------a786hjs", 9000), '$'},
	} {
		t.Run(c.name, func(t *testing.T) {
			follow := "\r\nMSRP wxyz 200 OK\r\n" + paths + "-------wxyz$\r\n" // an empty line between frames is passed over
			for _, manner := range []func(io.Reader) io.Reader{func(r io.Reader) io.Reader { return r }, iotest.OneByteReader, iotest.HalfReader, iotest.DataErrReader} {
				frames, end := readAll(manner(strings.NewReader(c.in + follow)))
				if end != io.EOF || len(frames) != 2 {
					t.Fatalf("%d frames, %v, want 2 and EOF", len(frames), end)
				}
				if f := frames[0]; f.err != nil || f.body != c.body || f.flag != c.flag || f.head.TransactionID != "a786hjs2" || f.head.MessageID != "m1" {
					t.Errorf("got %+v %q %c %v, want %q %c", f.head, f.body, f.flag, f.err, c.body, c.flag)
				}
				if f := frames[1]; f.err != nil || f.head.Status != 200 || f.head.Method != "" || f.head.Comment != "OK" {
					t.Errorf("the frame behind is %+v %v", f.head, f.err)
				}
			}
			// Cut anywhere, a frame is never whole.
			for i := 1; i < min(len(c.in), 400); i++ {
				if frames, end := readAll(strings.NewReader(c.in[:i])); len(frames) > 0 || !errors.Is(end, io.ErrUnexpectedEOF) {
					t.Fatalf("cut at %d: %d frames, %v, want unexpected EOF", i, len(frames), end)
				}
			}
		})
	}
}

// B4.07: a request that is whole but wrong is known, so that it can be answered 400, and what follows is read.
func TestWrongHeadsDontLoseTheStream(t *testing.T) {
	const to, from = "To-Path: msrp://b.example:9/s1;tcp\r\n", "From-Path: msrp://a.example:8/s2;tcp\r\n"
	frame := func(tid, method, fields string) string {
		return "MSRP " + tid + " " + method + "\r\n" + fields + "-------" + tid + "$\r\n"
	}
	for _, c := range []struct {
		name, in string
		whole    bool // false: the stream is of no use
	}{
		{"From-Path first", frame("abcd", "SEND", from+to+"Message-ID: m1\r\n"), true},
		{"Message-ID first", frame("abcd", "SEND", "Message-ID: m1\r\n"+to+from), true},
		{"To-Path twice", frame("abcd", "SEND", to+to+from+"Message-ID: m1\r\n"), true},
		{"no From-Path", frame("abcd", "SEND", to+"Message-ID: m1\r\n"), true},
		{"no To-Path", frame("abcd", "SEND", from+"Message-ID: m1\r\n"), true},
		{"no headers", frame("abcd", "SEND", ""), true},
		{"no Message-ID", frame("abcd", "SEND", to+from), true},
		{"path is no URI", frame("abcd", "SEND", "To-Path: sip:a@b\r\n"+from+"Message-ID: m1\r\n"), true},
		{"Byte-Range without total", frame("abcd", "SEND", to+from+"Message-ID: m1\r\nByte-Range: 1-5\r\n"), true},
		{"Byte-Range from 0", frame("abcd", "SEND", to+from+"Message-ID: m1\r\nByte-Range: 0-5/5\r\n"), true},
		{"Byte-Range from *", frame("abcd", "SEND", to+from+"Message-ID: m1\r\nByte-Range: *-5/5\r\n"), true},
		{"Byte-Range beyond all", frame("abcd", "SEND", to+from+"Message-ID: m1\r\nByte-Range: 9999999999999999999-*/*\r\n"), true},
		{"negative Byte-Range", frame("abcd", "SEND", to+from+"Message-ID: m1\r\nByte-Range: 1--5/5\r\n"), true},
		{"header without colon", frame("abcd", "SEND", to+from+"Message-ID: m1\r\nnonsense\r\n"), true},
		{"control character", frame("abcd", "SEND", to+from+"Message-ID: m\x011\r\n"), true},
		{"LF in a header", frame("abcd", "SEND", to+from+"Message-ID: m1\nX: y\r\n"), true},
		{"lower-case method", frame("abcd", "send", to+from+"Message-ID: m1\r\n"), true},
		{"no method", frame("abcd", "", to+from+"Message-ID: m1\r\n"), true},
		{"id is too short", frame("abc", "SEND", to+from+"Message-ID: m1\r\n"), true},
		{"id is too long", frame(strings.Repeat("a", 33), "SEND", to+from+"Message-ID: m1\r\n"), true},
		{"id has a control character", frame("ab\x07d", "SEND", to+from+"Message-ID: m1\r\n"), true},
		{"id has another script", frame("abcdé", "SEND", to+from+"Message-ID: m1\r\n"), true},
		{"id begins with a dot", frame(".abcd", "SEND", to+from+"Message-ID: m1\r\n"), true},
		{"id is huge", frame(strings.Repeat("a", 65), "SEND", to+from+"Message-ID: m1\r\n"), false},
		{"other protocol", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", false},
		{"nothing but a word", "MSRP\r\n", false},
		{"status of two digits", frame("abcd", "20 OK", to+from), false},
		{"start-line without end", "MSRP abcd " + strings.Repeat("S", 17<<10), false},
		{"header without end", "MSRP abcd SEND\r\nX: " + strings.Repeat("y", 17<<10), false},
		{"headers without end", "MSRP abcd SEND\r\n" + strings.Repeat("X: y\r\n", 17<<10/6), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, manner := range []func(io.Reader) io.Reader{func(r io.Reader) io.Reader { return r }, iotest.OneByteReader} {
				frames, end := readAll(manner(strings.NewReader(c.in + sendFrame("next", "", "x", '$'))))
				if !c.whole {
					if len(frames) > 0 || !errors.Is(end, msrp.ErrMalformed) {
						t.Errorf("%d frames, %v, want malformed", len(frames), end)
					}
					continue
				}
				var status *msrp.StatusError
				if len(frames) != 2 || !errors.As(frames[0].err, &status) || status.Code != 400 {
					t.Fatalf("got %+v, %v, want a 400 and the next frame", frames, end)
				}
				if frames[1].err != nil || frames[1].body != "x" {
					t.Errorf("the next frame is %+v", frames[1])
				}
			}
		})
	}
}

// RFC 4975 §7.1: what is in order though unusual. B4.07: unknown headers are ignored.
func TestUnusualHeadsAreRead(t *testing.T) {
	in := "MSRP 0.-+%=xyz SEND\r\nTO-PATH:msrp://b.example:9/s1;tcp msrps://c.example/s;tcp\r\nfrom-path:  msrp://a.example:8/s2;tcp \r\nX-New: a: b\r\n" +
		"Message-ID: m1\r\nByte-Range: 1-*/*\r\nSuccess-Report: YES\r\nFailure-Report: Partial\r\nContent-Disposition: attachment\r\nContent-Type: text/plain; charset=\"ü\"\r\n\r\nx\r\n-------0.-+%=xyz+\r\n" +
		"MSRP d93kswow REPORT\r\n" + paths + "Message-ID: m1\r\nByte-Range: 1-39/39\r\nStatus: 000 200 OK\r\n-------d93kswow$\r\n" +
		"MSRP d93kswow 413\r\n" + paths + "-------d93kswow$\r\n" +
		"MSRP d93kswow 481 No such session\r\n-------d93kswow$\r\n"
	frames, end := readAll(strings.NewReader(in))
	if end != io.EOF || len(frames) != 4 {
		t.Fatalf("%d frames, %v", len(frames), end)
	}
	for _, f := range frames {
		if f.err != nil {
			t.Errorf("%+v: %v", f.head, f.err)
		}
	}
	h := frames[0].head
	if len(h.ToPath) != 2 || !h.ToPath[1].Secure || len(h.FromPath) != 1 || h.Range != (msrp.ByteRange{Start: 1, End: -1, Total: -1}) ||
		!h.SuccessReport || h.FailureReport != "partial" || h.ContentType != `text/plain; charset="ü"` || fmt.Sprint(h.Other) != "[{X-New a: b} {Content-Disposition attachment}]" {
		t.Errorf("got %+v", h)
	}
	if h := frames[1].head; h.Method != "REPORT" || h.ReportStatus != "000 200 OK" || h.Range != (msrp.ByteRange{Start: 1, End: 39, Total: 39}) {
		t.Errorf("got %+v", h)
	}
	if h := frames[2].head; h.Status != 413 || h.Comment != "" {
		t.Errorf("got %+v", h)
	}
	if h := frames[3].head; h.Status != 481 || h.Comment != "No such session" {
		t.Errorf("got %+v", h)
	}
}

// B4.08, RFC 4975 §7.1.1: Byte-Range in its forms.
func TestByteRangesAreWrittenAsRead(t *testing.T) {
	for _, v := range []string{"1-0/0", "1-5/5", "1-*/*", "1-*/5", "2049-*/1000000", "6-10/*", "4611686018427387903-*/*"} {
		frames, _ := readAll(strings.NewReader(sendFrame("abcd", "Byte-Range: "+v+"\r\n", "", '$')))
		if len(frames) != 1 || frames[0].err != nil || frames[0].head.Range.String() != v {
			t.Errorf("%s is read as %+v", v, frames)
		}
	}
}

// zeros is a body without end.
type zeros struct{ read int64 }

func (z *zeros) Read(p []byte) (int, error) {
	z.read += int64(len(p))
	return len(p), nil
}

// F45: a single chunk of any size is read in bounded memory.
func TestHugeChunkIsReadInBoundedMemory(t *testing.T) {
	const size = 256 << 20
	head := "MSRP abcd SEND\r\n" + paths + "Message-ID: m1\r\nContent-Type: a/b\r\n\r\n"
	r := msrp.NewReader(io.MultiReader(strings.NewReader(head), io.LimitReader(&zeros{}, size), strings.NewReader("\r\n-------abcd$\r\n")))
	if _, err := r.Next(); err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, r.Body(), make([]byte, 8<<10))
	runtime.ReadMemStats(&after)
	if n != size || err != nil || r.Flag() != '$' {
		t.Fatalf("read %d, %v, %c", n, err, r.Flag())
	}
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 1<<20 {
		t.Errorf("%d octets were allocated for the body", grown)
	}
}

func TestReaderGivesUpOnASourceThatGivesNothing(t *testing.T) {
	if _, err := msrp.NewReader(iotest.ErrReader(nil)).Next(); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("Next = %v, want no progress", err)
	}
}

func exampleHead() *msrp.Head {
	to, _ := msrp.ParsePath("msrp://b.example:9/s1;tcp")
	from, _ := msrp.ParsePath("msrp://a.example:8/s2;tcp")
	return &msrp.Head{TransactionID: "abcd", Method: msrp.SEND, ToPath: to, FromPath: from, MessageID: "m1", ContentType: "text/plain", HasBody: true}
}

// RFC 4975 §9: the order of headers. B4.06: MIME headers are last.
func TestWriterWritesTheGrammar(t *testing.T) {
	var b bytes.Buffer
	w := msrp.NewWriter(&b)
	h := exampleHead()
	h.SuccessReport, h.FailureReport, h.Range = true, "partial", msrp.ByteRange{Start: 1, End: -1, Total: 5}
	h.Other = []msrp.Header{{Name: "Content-ID", Value: "<x>"}, {Name: "X-New", Value: "y"}}
	report := &msrp.Head{TransactionID: "efgh", Method: msrp.REPORT, ToPath: h.ToPath, FromPath: h.FromPath, MessageID: "m1", Range: msrp.ByteRange{Start: 1, End: 5, Total: 5}, ReportStatus: "000 200 OK"}
	if err := errors.Join(w.Begin(h), write(w, "Hel"), write(w, "lo"), w.End(msrp.Incomplete), w.Begin(report), w.End(msrp.Complete), w.Flush()); err != nil {
		t.Fatal(err)
	}
	want := "MSRP abcd SEND\r\n" + paths + "Message-ID: m1\r\nSuccess-Report: yes\r\nFailure-Report: partial\r\nByte-Range: 1-*/5\r\nX-New: y\r\nContent-ID: <x>\r\nContent-Type: text/plain\r\n\r\nHello\r\n-------abcd+\r\n" +
		"MSRP efgh REPORT\r\n" + paths + "Message-ID: m1\r\nByte-Range: 1-5/5\r\nStatus: 000 200 OK\r\n-------efgh$\r\n"
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

func write(w *msrp.Writer, s string) error { _, err := io.WriteString(w, s); return err }

// S8, B4.06: a body can't end its frame, in whatever pieces it comes.
func TestWriterRefusesABodyWithItsEndLine(t *testing.T) {
	const body = "text\r\n-------abcd$\r\nMSRP evil SEND\r\n"
	for cut := range len(body) {
		var b bytes.Buffer
		w := msrp.NewWriter(&b)
		if err := w.Begin(exampleHead()); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(write(w, body[:cut]), write(w, body[cut:])); !errors.Is(err, msrp.ErrEndLine) {
			t.Errorf("cut at %d: %v, want ErrEndLine", cut, err)
		}
		_ = w.Flush()
		if strings.Contains(b.String(), "-------abcd") {
			t.Errorf("cut at %d: the end-line is out", cut)
		}
	}
	w := msrp.NewWriter(io.Discard)
	_ = w.Begin(exampleHead())
	for _, c := range "text\r\n-------abcd" {
		if err := write(w, string(c)); err != nil {
			return
		}
	}
	t.Error("octet by octet, the end-line passes")
}

// S8: no field can break out of its line.
func TestWriterRefusesFieldsThatBreakOut(t *testing.T) {
	for name, spoil := range map[string]func(*msrp.Head){
		"id":            func(h *msrp.Head) { h.TransactionID = "ab cd" },
		"short id":      func(h *msrp.Head) { h.TransactionID = "abc" },
		"method":        func(h *msrp.Head) { h.Method = "SEND\r\nX: y" },
		"Message-ID":    func(h *msrp.Head) { h.MessageID = "m\r\nX: y" },
		"no Message-ID": func(h *msrp.Head) { h.MessageID = "" },
		"report":        func(h *msrp.Head) { h.FailureReport = "no\n" },
		"status":        func(h *msrp.Head) { h.ReportStatus = "000 200\r\n" },
		"type":          func(h *msrp.Head) { h.ContentType = "text/plain\r\n\r\nbody" },
		"no type":       func(h *msrp.Head) { h.ContentType = "" },
		"name":          func(h *msrp.Head) { h.Other = []msrp.Header{{Name: "X: y\r\nZ", Value: "z"}} },
		"empty name":    func(h *msrp.Head) { h.Other = []msrp.Header{{Value: "z"}} },
		"value":         func(h *msrp.Head) { h.Other = []msrp.Header{{Name: "X", Value: "y\r\nZ: z"}} },
		"no path":       func(h *msrp.Head) { h.ToPath = nil },
		"path":          func(h *msrp.Head) { h.FromPath = msrp.Path{{Host: "a\r\nX: y", Transport: "tcp"}} },
		"comment":       func(h *msrp.Head) { h.Method, h.Status, h.Comment = "", 200, "OK\r\nX: y" },
	} {
		var b bytes.Buffer
		w := msrp.NewWriter(&b)
		h := exampleHead()
		spoil(h)
		if err := w.Begin(h); err == nil {
			t.Errorf("%s is written", name)
		}
		if _ = w.Flush(); b.Len() > 0 {
			t.Errorf("%s: %q is out", name, b.String())
		}
	}
}

// FuzzReader: no panic, the same frames in whatever pieces they come, and what was read is written and read again the same.
func FuzzReader(f *testing.F) {
	f.Add([]byte(sendFrame("a786hjs2", "Byte-Range: 1-5/5\r\nSuccess-Report: yes\r\nFailure-Report: partial\r\n", "Hello", '$')))
	f.Add([]byte(sendFrame("a786hjs2", "X: y\r\nContent-ID: z\r\n", "a\r\n-------a786hjs2!\r\n-------a786hjs2", '+')))
	f.Add([]byte("MSRP d93kswow REPORT\r\n" + paths + "Message-ID: m1\r\nByte-Range: 1-*/*\r\nStatus: 000 200 OK\r\n-------d93kswow$\r\n"))
	f.Add([]byte("MSRP d93kswow 200 OK\r\n" + paths + "-------d93kswow$\r\nMSRP d93kswow 413\r\n" + paths + "-------d93kswow#\r\n"))
	f.Add([]byte("MSRP abcd SEND\r\nFrom-Path: x\r\n-------abcd$\r\n\r\n" + sendFrame("abcd", "", "", '#')))
	f.Add([]byte("MSRP abcd SEND\r\n" + paths + "Message-ID: m\r\nContent-Type: a/b\r\n\r\n-------abcd$\r\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		frames, end := readAll(bytes.NewReader(in))
		again, endAgain := readAll(iotest.OneByteReader(bytes.NewReader(in)))
		if len(frames) != len(again) || end.Error() != endAgain.Error() {
			t.Fatalf("in one piece %d frames, %v; in many %d, %v", len(frames), end, len(again), endAgain)
		}
		for i, g := range frames {
			if fmt.Sprint(g.head, g.body, g.flag, g.err) != fmt.Sprint(again[i].head, again[i].body, again[i].flag, again[i].err) {
				t.Fatalf("in one piece %+v; in many %+v", g, again[i])
			}
			if len(g.body) > len(in) {
				t.Fatal("more body than input")
			}
			var out bytes.Buffer
			w := msrp.NewWriter(&out)
			if g.err != nil || w.Begin(g.head) != nil {
				continue
			}
			if g.head.HasBody {
				if err := write(w, g.body); err != nil {
					continue // a look-alike in the body, which we don't write
				}
			}
			if err := errors.Join(w.End(g.flag), w.Flush()); err != nil {
				t.Fatal(err)
			}
			back, err := readAll(&out)
			if err != io.EOF || len(back) != 1 || back[0].err != nil || back[0].body != g.body || back[0].flag != g.flag {
				t.Fatalf("%+v comes back as %+v, %v", g, back, err)
			}
			a, b := *g.head, *back[0].head
			a.Other, b.Other = nil, nil
			if fmt.Sprintf("%+v", a) != fmt.Sprintf("%+v", b) || len(g.head.Other) != len(back[0].head.Other) {
				t.Fatalf("%+v comes back as %+v", g.head, back[0].head)
			}
		}
	})
}
