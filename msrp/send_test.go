package msrp_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"latchkey/msrp"
)

func text(body string) *msrp.Message {
	return &msrp.Message{ID: "m1", ContentType: "text/plain", Body: strings.NewReader(body), Size: int64(len(body))}
}

// sending runs Send beside the test.
func sending(ctx context.Context, s *msrp.Session, m *msrp.Message) <-chan error {
	sent := make(chan error, 1)
	go func() { sent <- s.Send(ctx, m) }()
	return sent
}

func result(t *testing.T, sent <-chan error) error {
	t.Helper()
	select {
	case err := <-sent:
		return err
	case <-time.After(patience):
		t.Fatal("Send hangs")
		return nil
	}
}

func status(err error) int {
	if s, ok := errors.AsType[*msrp.StatusError](err); ok {
		return s.Code
	}
	return 0
}

// F33, B4.04: the active side binds at once, by an empty SEND without body.
func TestActiveSideBindsAtOnce(t *testing.T) {
	ours, theirs := net.Pipe()
	p := newRaw(t, theirs)
	s := msrp.NewSession(msrp.SessionOptions{Local: uri(t, ourURI), Remote: msrp.Path{uri(t, "msrp://relay.example:1/r;tcp"), uri(t, peerURI)}})
	defer s.Close()
	bound := make(chan error, 1)
	go func() { bound <- s.ConnectOn(within(t), ours) }()
	f := p.read()
	if f.what != "SEND" || f.hasBody || f.get("Byte-Range") != "1-0/0" || f.get("Content-Type") != "" || f.get("Message-ID") == "" || f.flag != '$' ||
		f.get("To-Path") != "msrp://relay.example:1/r;tcp "+peerURI || f.get("From-Path") != ourURI {
		t.Errorf("got %+v", f)
	}
	select {
	case err := <-bound:
		t.Errorf("ConnectOn = %v before the response", err)
	default:
	}
	p.ok(f)
	if err := <-bound; err != nil {
		t.Errorf("ConnectOn = %v", err)
	}
	if err := s.ConnectOn(within(t), theirs); err == nil {
		t.Error("a bound session connects once more")
	}
}

// F33, F48, B4.03, B4.13: a refused, silent or lost peer ends the session, and ConnectOn says why.
func TestBindingFails(t *testing.T) {
	for name, c := range map[string]struct {
		peer func(*raw, frame)
		want func(error) bool
	}{
		"no such session": {func(p *raw, f frame) { p.answer(f, "481 No such session") }, func(err error) bool { return status(err) == 481 }},
		"bound elsewhere": {func(p *raw, f frame) { p.answer(f, "506 Bound") }, func(err error) bool { return status(err) == 506 }},
		"silence":         {func(p *raw, f frame) {}, func(err error) bool { return status(err) == 408 }},
		"closed":          {func(p *raw, f frame) { _ = p.nc.Close() }, func(err error) bool { return errors.Is(err, io.EOF) }},
		"nonsense":        {func(p *raw, f frame) { p.write("SSH-2.0-x\n") }, func(err error) bool { return errors.Is(err, msrp.ErrMalformed) }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ours, theirs := net.Pipe()
				p := newRaw(t, theirs)
				s := msrp.NewSession(msrp.SessionOptions{Local: uri(t, ourURI), Remote: msrp.Path{uri(t, peerURI)}})
				go func() { c.peer(p, p.read()) }()
				begin := time.Now()
				err := s.ConnectOn(t.Context(), ours)
				if !c.want(err) {
					t.Errorf("ConnectOn = %v", err)
				}
				if took := time.Since(begin); name == "silence" && took != 30*time.Second || name != "silence" && took != 0 {
					t.Errorf("it took %v", took)
				}
				<-s.Done()
				if !c.want(s.Err()) {
					t.Errorf("Err = %v", s.Err())
				}
				if err := s.Send(t.Context(), text("x")); !c.want(err) {
					t.Errorf("Send = %v afterwards", err)
				}
			})
		})
	}
	s := msrp.NewSession(msrp.SessionOptions{Local: uri(t, ourURI)})
	if err := s.Connect(within(t), (&net.Dialer{}).DialContext, "127.0.0.1:1", nil); err == nil || s.Err() != nil {
		t.Errorf("Connect to nobody = %v, Err = %v", err, s.Err())
	}
	ours, _ := net.Pipe()
	if err := s.ConnectOn(within(t), ours); err == nil || s.Err() != nil {
		t.Errorf("ConnectOn without a remote path = %v, Err = %v", err, s.Err())
	}
}

// B4.08, B4.17c: how messages of each size leave.
func TestChunksFollowTheRules(t *testing.T) {
	for _, c := range []struct {
		size, chunk int
		known       bool
		want        []string // Byte-Range and flag
	}{
		{0, 0, true, []string{"1-0/0$"}},
		{1, 0, true, []string{"1-1/1$"}},
		{2048, 0, true, []string{"1-2048/2048$"}},
		{2048, 100, true, []string{"1-2048/2048$"}}, // no chunks below 2048
		{2049, 0, true, []string{"1-*/2049$"}},
		{2049, 100, true, []string{"1-2048/2049+", "2049-2049/2049$"}},
		{5000, 3000, true, []string{"1-*/5000+", "3001-5000/5000$"}},
		{6000, 3000, true, []string{"1-*/6000+", "3001-*/6000$"}},
		{0, 0, false, []string{"1-0/0$"}},
		{100, 0, false, []string{"1-100/100$"}},
		{6000, 3000, false, []string{"1-*/*+", "3001-*/6000$"}},
		{6001, 3000, false, []string{"1-*/*+", "3001-*/*+", "6001-6001/6001$"}},
		{20000, 0, true, []string{"1-*/20000+", "16385-*/20000$"}},
	} {
		t.Run(fmt.Sprint(c.size, " ", c.chunk, " ", c.known), func(t *testing.T) {
			s, p := active(t, msrp.SessionOptions{ChunkSize: c.chunk})
			body := strings.Repeat("0123456789", c.size/10+1)[:c.size]
			m := &msrp.Message{ContentType: "text/plain", Body: iotest.HalfReader(strings.NewReader(body)), Size: -1, SuccessReport: true, FailureReport: "yes", Header: []msrp.Header{{Name: "X-New", Value: "y"}}}
			if c.known {
				m.Size = int64(c.size)
			}
			sent := sending(within(t), s, m)
			var got []string
			var all []byte
			tids, id := map[string]bool{}, ""
			for {
				f := p.read()
				got, all = append(got, f.get("Byte-Range")+string(f.flag)), append(all, f.body...)
				if f.get("Success-Report") != "yes" || f.get("Failure-Report") != "yes" || f.get("X-New") != "y" || id != "" && f.get("Message-ID") != id || tids[f.tid] ||
					f.fields[0] != "To-Path: "+peerURI || f.fields[1] != "From-Path: "+ourURI || f.fields[len(f.fields)-1] != "Content-Type: text/plain" || !f.hasBody {
					t.Errorf("chunk %+v", f)
				}
				id, tids[f.tid] = f.get("Message-ID"), true
				p.ok(f)
				if f.flag == '$' {
					break
				}
			}
			if err := result(t, sent); err != nil || string(all) != body {
				t.Errorf("Send = %v, %d octets came of %d", err, len(all), len(body))
			}
			if fmt.Sprint(got) != fmt.Sprint(c.want) {
				t.Errorf("ranges %v, want %v", got, c.want)
			}
		})
	}
}

// S8, B4.06: a body that has the end-line of its transaction goes under another.
func TestBodyWithItsEndLineGetsAnotherTransaction(t *testing.T) {
	s, p := active(t, msrp.SessionOptions{})
	ids := []string{"first", "1111aaaa", "1111aaaa", "2222bbbb", "3333cccc"}
	s.WithTransactionIDs(func() string {
		id := ids[0]
		ids = ids[1:]
		return id
	})
	body := "Hi\r\n-------1111aaaa$\r\nMSRP 9999 SEND\r\n-------2222bbbb+\r\n"
	sent := sending(within(t), s, text(body))
	f := p.read()
	if f.tid != "3333cccc" || string(f.body) != body || f.flag != '$' {
		t.Errorf("got %+v", f)
	}
	p.ok(f)
	if err := result(t, sent); err != nil {
		t.Errorf("Send = %v", err)
	}
}

// S8, B4.06: so does the rest of a long body, where the end-line stands far behind.
func TestLongBodyWithItsEndLineGoesOnUnderAnotherTransaction(t *testing.T) {
	s, p := active(t, msrp.SessionOptions{ChunkSize: 1 << 20})
	ids := []string{"first", "1111aaaa", "2222bbbb", "3333cccc"}
	s.WithTransactionIDs(func() string {
		id := ids[0]
		ids = ids[1:]
		return id
	})
	body := strings.Repeat("x", 300000) + "\r\n-------1111aaaa$\r\nMSRP 9999 SEND\r\n"
	sent := sending(within(t), s, text(body))
	var all string
	for _, want := range []string{"1111aaaa+", "2222bbbb$"} {
		f := p.read()
		if f.tid+string(f.flag) != want || len(f.body) == 0 {
			t.Errorf("got %s%c with %d octets, want %s", f.tid, f.flag, len(f.body), want)
		}
		all += string(f.body)
		p.ok(f)
	}
	if err := result(t, sent); err != nil || all != body {
		t.Errorf("Send = %v, %d octets of %d", err, len(all), len(body))
	}
}

// S8: nothing of a message can break out of its line.
func TestMessageThatWouldBreakOutIsNotSent(t *testing.T) {
	s, p := active(t, msrp.SessionOptions{})
	for name, spoil := range map[string]func(*msrp.Message){
		"id":       func(m *msrp.Message) { m.ID = "m1\r\nX: y" },
		"type":     func(m *msrp.Message) { m.ContentType = "text/plain\r\n\r\nx" },
		"no type":  func(m *msrp.Message) { m.ContentType = "" },
		"report":   func(m *msrp.Message) { m.FailureReport = "maybe" },
		"a header": func(m *msrp.Message) { m.Header = []msrp.Header{{Name: "X", Value: "y\r\nZ: z"}} },
	} {
		m := text("x")
		spoil(m)
		if err := s.Send(within(t), m); err == nil {
			t.Errorf("%s: Send = nil", name)
		}
	}
	sent := sending(within(t), s, text("fine"))
	f := p.read()
	if string(f.body) != "fine" {
		t.Errorf("got %+v", f)
	}
	p.ok(f)
	if err := result(t, sent); err != nil {
		t.Error(err)
	}
}

// running reads a chunk's head and n octets of its body.
func (p *raw) running(n int) (head frame, body []byte) {
	p.t.Helper()
	_ = p.nc.SetReadDeadline(time.Now().Add(patience))
	var lines []string
	for {
		l, err := p.r.ReadString('\n')
		if err != nil {
			p.t.Fatal(err)
		}
		if l = strings.TrimSuffix(l, "\r\n"); l == "" {
			break
		}
		lines = append(lines, l)
	}
	head.tid, head.fields = strings.Fields(lines[0])[1], lines[1:]
	body = make([]byte, n)
	if _, err := io.ReadFull(p.r, body); err != nil {
		p.t.Fatal(err)
	}
	return head, body
}

// rest reads a running chunk to its end.
func (p *raw) rest(head frame) (body []byte, flag byte) {
	p.t.Helper()
	_ = p.nc.SetReadDeadline(time.Now().Add(patience))
	end := []byte("\r\n-------" + head.tid)
	for {
		c, err := p.r.ReadByte()
		if err != nil {
			p.t.Fatal(err)
		}
		body = append(body, c)
		if n := len(body) - len(end) - 3; n >= 0 && bytes.HasPrefix(body[n:], end) {
			return body[:n], body[n+len(end)]
		}
	}
}

// F47, B4.08: while a big chunk is under way, the peer's SEND gets its 200 within a small piece of it; the rest of the
// message follows, whole.
func TestResponseInterruptsABigChunk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newInbox()
		s, p := active(t, msrp.SessionOptions{ChunkSize: 8 << 20, Handler: b})
		body := bytes.Repeat([]byte("0123456789abcdef"), 6<<20/16)
		sent := sending(t.Context(), s, &msrp.Message{ID: "big", ContentType: "a/b", Body: bytes.NewReader(body), Size: int64(len(body))})
		var all []byte
		interruptions := 0
		for at := 1; ; {
			head, some := p.running(1)
			if start, end, total := head.span(); head.get("Message-ID") != "big" || start != at || end != -1 || total != len(body) {
				t.Fatalf("chunk %+v, want it at %d", head, at)
			}
			tid := fmt.Sprintf("%dpeer", interruptions)
			if interruptions < 5 {
				more := make([]byte, 1<<20)
				if _, err := io.ReadFull(p.r, more); err != nil {
					t.Fatal(err)
				}
				some = append(some, more...)
				go p.send(tid, "m"+tid, "", "", "hello", '$')
				synctest.Wait() // the 200 waits for the chunk's writer, who waits for us
			}
			rest, flag := p.rest(head)
			all, at = append(append(all, some...), rest...), at+len(some)+len(rest)
			if flag == '$' {
				p.ok(head)
				break
			}
			if flag != '+' || len(rest) > 64<<10 {
				t.Fatalf("chunk ended by %c, %d octets behind the peer's SEND", flag, len(rest))
			}
			p.expect(tid, "200")
			interruptions++
			go p.ok(head)
		}
		if err := <-sent; err != nil || !bytes.Equal(all, body) || interruptions != 5 {
			t.Errorf("Send = %v, %d octets came of %d, %d interruptions", err, len(all), len(body), interruptions)
		}
		if n := len(b.all()); n != 5 {
			t.Errorf("%d messages came, want 5", n)
		}
	})
}

// F47, B4.08: on a slow connection a response waits for one piece of 2048 octets; a chunk of 2048 is not interrupted.
func TestResponseWaitsForOneSmallPieceOnASlowConnection(t *testing.T) {
	for _, size := range []int{2048, 100000} {
		synctest.Test(t, func(t *testing.T) {
			s, p := active(t, msrp.SessionOptions{ChunkSize: 100000, Handler: newInbox()})
			sent := sending(t.Context(), s, text(strings.Repeat("x", size)))
			head, _ := p.running(100)
			for n := 100; n < size/2; n += 500 {
				time.Sleep(50 * time.Millisecond)
				_, _ = io.CopyN(io.Discard, p.r, 500)
			}
			go p.send("1peer", "p1", "", "", "hello", '$')
			synctest.Wait()
			behind, flag := p.rest(head)
			if size > 2048 && (flag != '+' || len(behind) > 2*2048) || size == 2048 && flag != '$' {
				t.Errorf("of %d octets, %d come behind the peer's SEND, and %c", size, len(behind), flag)
			}
			p.expect("1peer", "200")
			p.ok(head)
			if size > 2048 {
				f := p.read()
				p.ok(f)
			}
			if err := <-sent; err != nil {
				t.Errorf("Send = %v", err)
			}
		})
	}
}

// B4.08: sessions on one connection take turns, so do messages of one session.
func TestMessagesTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := newPipes()
		l := serve(t, ln, msrp.ListenerOptions{})
		a := passive(t, l, msrp.SessionOptions{ChunkSize: 8 << 20})
		b := passive(t, l, msrp.SessionOptions{ChunkSize: 8 << 20})
		p := ln.dial(t, a)
		p.bind("1test")
		p.expect("1test", "200")
		p.us = b.Local().String()
		p.bind("2test")
		p.expect("2test", "200")
		const size = 1 << 20
		var sent []<-chan error
		for i, s := range []*msrp.Session{a, b, a} {
			sent = append(sent, sending(t.Context(), s, &msrp.Message{ID: fmt.Sprint("m", i), ContentType: "a/b", Body: io.LimitReader(&zeros{}, size), Size: size}))
		}
		synctest.Wait() // one is in the middle of a chunk, the others wait
		got, chunks := map[string]int{}, map[string]int{}
		for ended := 0; ended < 3; {
			f := p.read()
			id := f.get("Message-ID")
			if start, _, _ := f.span(); start != got[id]+1 {
				t.Errorf("a chunk of %s is at %d, %d octets were there", id, start, got[id])
			}
			got[id] += len(f.body)
			chunks[id]++
			if f.flag == '$' {
				ended++
			}
			go p.ok(f)
			synctest.Wait()
		}
		for i, c := range sent {
			if err := <-c; err != nil || got[fmt.Sprint("m", i)] != size {
				t.Errorf("Send = %v, %d octets came", err, got[fmt.Sprint("m", i)])
			}
		}
		for id, n := range chunks {
			if n < 5 {
				t.Errorf("%d chunks of %s: it held the others up", n, id)
			}
		}
	})
}

// F48, B4.11: no response within 30 s from the last byte is a failure of the message, not of the session; a late one is nothing.
func TestSilenceIsAFailureAfterThirtySeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := active(t, msrp.SessionOptions{})
		sent := sending(t.Context(), s, text(strings.Repeat("x", 10000)))
		head, _ := p.running(5000)
		time.Sleep(20 * time.Second) // a slow line is no silence
		_, _ = p.rest(head)
		begin := time.Now()
		if err := <-sent; status(err) != 408 {
			t.Errorf("Send = %v, want 408", err)
		}
		if took := time.Since(begin); took != 30*time.Second {
			t.Errorf("it took %v from the last byte", took)
		}
		if s.Err() != nil {
			t.Errorf("the session is over: %v", s.Err())
		}
		p.ok(head) // late
		sent = sending(t.Context(), s, text("y"))
		f := p.read()
		if f.flag == '#' { // the failed message is given up
			t.Errorf("an abort for a message that was whole: %+v", f)
		}
		p.ok(f)
		if err := <-sent; err != nil {
			t.Errorf("Send = %v after a late 200", err)
		}
	})
}

// RFC 4975 §7.1.1, B4.10: no waits for nothing, partial neither, but hears of errors, even late ones.
func TestFailureReportSaysWhatIsAwaited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newInbox()
		s, p := active(t, msrp.SessionOptions{Handler: b, ChunkSize: 2048})
		for _, mode := range []string{"no", "partial"} {
			m := text("x")
			m.FailureReport = mode
			begin := time.Now()
			sent := sending(t.Context(), s, m)
			f := p.read()
			if f.get("Failure-Report") != mode {
				t.Errorf("got %+v", f)
			}
			if err := <-sent; err != nil || time.Since(begin) > 0 {
				t.Errorf("%s: Send = %v after %v", mode, err, time.Since(begin))
			}
			p.answer(f, "413 Too much")
		}
		if got := b.next(t); got != "report m1 1-1/1 413" || len(b.got) > 0 {
			t.Errorf("got %s, want the late error to partial alone", got)
		}
		m := text(strings.Repeat("x", 5000))
		m.FailureReport = "partial"
		sent := sending(t.Context(), s, m)
		p.answer(p.read(), "413 Too much")
		synctest.Wait() // it is heard; the second chunk waits for us
		for f := p.read(); f.flag != '#'; f = p.read() {
			if f.flag == '$' {
				t.Fatal("the message goes on after a 413")
			}
		}
		if err := <-sent; status(err) != 413 {
			t.Errorf("Send = %v, want the 413", err)
		}
		time.Sleep(time.Minute)
		if len(b.got) > 0 || s.Err() != nil {
			t.Errorf("silence became %v, Err = %v", b.got, s.Err())
		}
	})
}

// B4.13: what each code does to message and session.
func TestRefusalsEndTheMessageOrTheSession(t *testing.T) {
	for _, c := range []struct {
		code string
		over bool
	}{{"400 Bad", false}, {"403 No", false}, {"408 Timeout", false}, {"413 Stop", false}, {"415 Type", false}, {"423 Bounds", false}, {"501 What", false}, {"481 None", true}, {"506 Bound", true}} {
		t.Run(c.code, func(t *testing.T) {
			s, p := active(t, msrp.SessionOptions{Handler: newInbox()})
			sent := sending(within(t), s, text("hello"))
			p.answer(p.read(), c.code)
			if err := result(t, sent); fmt.Sprint(status(err)) != c.code[:3] {
				t.Errorf("Send = %v", err)
			}
			if c.over {
				p.closed()
				<-s.Done()
				if fmt.Sprint(status(s.Err())) != c.code[:3] {
					t.Errorf("Err = %v", s.Err())
				}
				return
			}
			sent = sending(within(t), s, text("again"))
			p.ok(p.read())
			if err := result(t, sent); err != nil {
				t.Errorf("the next Send = %v", err)
			}
		})
	}
}

// B4.13: a 413 ends a running chunk with #, so do the end of ctx and of the session.
func TestMessageThatIsGivenUpEndsWithinTheChunk(t *testing.T) {
	for name, c := range map[string]struct {
		stop func(p *raw, first frame, s *msrp.Session, cancel func())
		want func(error) bool
	}{
		"413":    {func(p *raw, f frame, _ *msrp.Session, _ func()) { p.answer(f, "413 Stop") }, func(err error) bool { return status(err) == 413 }},
		"REPORT": {func(p *raw, _ frame, _ *msrp.Session, _ func()) { p.report("rrrr", "m1", "1-10/*", "000 413 Stop") }, func(err error) bool { return status(err) == 413 }},
		"ctx":    {func(_ *raw, _ frame, _ *msrp.Session, cancel func()) { cancel() }, func(err error) bool { return errors.Is(err, context.Canceled) }},
		"Close":  {func(_ *raw, _ frame, s *msrp.Session, _ func()) { _ = s.Close() }, func(err error) bool { return errors.Is(err, msrp.ErrClosed) }},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(within(t))
			defer cancel()
			s, p := active(t, msrp.SessionOptions{ChunkSize: 4 << 20, Handler: newInbox()})
			sent := sending(ctx, s, &msrp.Message{ID: "m1", ContentType: "a/b", Body: io.LimitReader(&zeros{}, 16<<20), Size: 16 << 20})
			head, _ := p.running(100000)
			stopped := make(chan struct{})
			go func() {
				defer close(stopped)
				c.stop(p, head, s, cancel)
			}()
			behind, flag := p.rest(head)
			if flag != '#' || len(behind) > 3<<20 {
				t.Errorf("%d octets and %c behind the stop", len(behind), flag)
			}
			<-stopped
			if err := result(t, sent); !c.want(err) {
				t.Errorf("Send = %v", err)
			}
			if name == "Close" {
				p.closed()
				return
			}
			if name != "413" {
				p.ok(head)
			}
			again := sending(within(t), s, text("next"))
			f := p.read()
			if string(f.body) != "next" {
				t.Errorf("the next frame is %+v", f)
			}
			p.ok(f)
			if err := result(t, again); err != nil {
				t.Errorf("the next Send = %v", err)
			}
		})
	}
}

// A body that fails or is too short is given up, too.
func TestBodyThatFailsIsGivenUp(t *testing.T) {
	boom := errors.New("boom")
	for name, m := range map[string]*msrp.Message{
		"fails": {ID: "m1", ContentType: "a/b", Body: io.MultiReader(strings.NewReader(strings.Repeat("x", 5000)), iotest.ErrReader(boom)), Size: -1},
		"short": {ID: "m1", ContentType: "a/b", Body: strings.NewReader(strings.Repeat("x", 5000)), Size: 6000},
	} {
		s, p := active(t, msrp.SessionOptions{ChunkSize: 2048})
		sent := sending(within(t), s, m)
		f := p.read()
		for ; f.flag == '+'; f = p.read() {
			p.ok(f)
		}
		if f.flag != '#' || f.get("Message-ID") != "m1" {
			t.Errorf("%s: the last chunk is %+v", name, f)
		}
		if err := result(t, sent); !errors.Is(err, boom) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s: Send = %v", name, err)
		}
	}
	// No more than Size is sent.
	s, p := active(t, msrp.SessionOptions{})
	sent := sending(within(t), s, &msrp.Message{ContentType: "a/b", Body: strings.NewReader("abcdef"), Size: 3})
	if f := p.read(); string(f.body) != "abc" || f.get("Byte-Range") != "1-3/3" || f.flag != '$' {
		t.Errorf("got %+v", f)
	} else {
		p.ok(f)
	}
	if err := result(t, sent); err != nil {
		t.Error(err)
	}
}

// F46, B4.12, B4.14: reports reach the handler; a failure that says bytes are missing ends the session (RFC 4975 §7.3.2).
func TestReportsAreHeard(t *testing.T) {
	b := newInbox()
	s, p := active(t, msrp.SessionOptions{Handler: b})
	m := text("hello")
	m.SuccessReport = true
	sent := sending(within(t), s, m)
	p.ok(p.read())
	if err := result(t, sent); err != nil {
		t.Fatal(err)
	}
	p.report("1test", "m1", "1-5/5", "000 200 OK")
	if got := b.next(t); got != "report m1 1-5/5 200" {
		t.Errorf("got %q", got)
	}
	p.report("2test", "nobody", "1-5/5", "000 408 Timeout") // unknown: ignored
	p.report("3test", "m1", "1-5/5", "001 408 Timeout")     // of another namespace
	p.report("4test", "m1", "1-5/5", "000 413 Stop")        // unwanted, not missing
	if got := b.next(t); got != "report m1 1-5/5 413" || s.Err() != nil {
		t.Errorf("got %q, Err = %v", got, s.Err())
	}
	p.report("5test", "m1", "1-5/5", "000 408 Timeout")
	if got := b.next(t); got != "report m1 1-5/5 408" {
		t.Errorf("got %q", got)
	}
	<-s.Done()
	if status(s.Err()) != 408 {
		t.Errorf("Err = %v, want 408", s.Err())
	}
}

// At most 16 chunks are unanswered; Send goes on as responses come.
func TestSendWaitsForResponses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := active(t, msrp.SessionOptions{ChunkSize: 2048})
		const n = 40
		sent := sending(t.Context(), s, text(strings.Repeat("x", n*2048)))
		frames := make(chan frame, n)
		go func() {
			for range n {
				f, err := p.tryRead()
				if err != nil {
					return
				}
				frames <- f
			}
		}()
		synctest.Wait()
		if len(frames) != 16 {
			t.Errorf("%d chunks came without a response, want 16", len(frames))
		}
		for range n {
			p.ok(<-frames)
		}
		if err := <-sent; err != nil {
			t.Errorf("Send = %v", err)
		}
	})
}

// RFC 5547 §8.1: what is told of a message's progress is with the peer, in whatever order it answers.
func TestProgressTellsWhatThePeerHas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := active(t, msrp.SessionOptions{ChunkSize: 2048})
		var told []int64
		m := text(strings.Repeat("x", 4*2048))
		m.Progress = func(octets int64) { told = append(told, octets) }
		sent := sending(t.Context(), s, m)
		var frames []frame
		for range 4 {
			frames = append(frames, p.read())
		}
		for _, i := range []int{1, 0, 3, 2} {
			p.ok(frames[i])
			synctest.Wait()
		}
		if err := <-sent; err != nil {
			t.Errorf("Send = %v", err)
		}
		// After the second chunk's response the first one is open. The end of the last one is Send's to tell.
		if want := []int64{4096, 4096, 6144}; !slices.Equal(told, want) {
			t.Errorf("progress %v, want %v", told, want)
		}
	})
}

// B4.14: a peer that takes nothing loses the connection, and Send says so.
func TestPeerThatTakesNothingIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := active(t, msrp.SessionOptions{})
		begin := time.Now()
		sent := sending(t.Context(), s, text(strings.Repeat("x", 10000)))
		_, _ = p.running(10)
		if err := <-sent; err == nil || status(err) != 0 {
			t.Errorf("Send = %v, want the connection lost", err)
		}
		<-s.Done()
		if took := time.Since(begin); took > 31*time.Second {
			t.Errorf("it took %v", took)
		}
	})
}

// B4.14: a peer that closes its connection ends the session and hangs nobody. What had its 200 before is sent.
func TestPeerThatClosesEndsTheSession(t *testing.T) {
	for range 50 { // the 200 and the end race each other
		s, p := active(t, msrp.SessionOptions{})
		sent := sending(within(t), s, text("abcdefg"))
		p.ok(p.read())
		_ = p.nc.Close()
		if err := result(t, sent); err != nil {
			t.Errorf("Send = %v, though its 200 came", err)
		}
		select {
		case <-s.Done():
		case <-time.After(patience):
			t.Fatal("the session outlives its connection")
		}
		if err := s.Close(); err != nil || !errors.Is(s.Err(), io.EOF) {
			t.Errorf("Close = %v, Err = %v", err, s.Err())
		}
	}
}

func TestSendWaitsToBeBound(t *testing.T) {
	s := msrp.NewSession(msrp.SessionOptions{Local: uri(t, ourURI), Remote: msrp.Path{uri(t, peerURI)}})
	ctx, cancel := context.WithCancel(within(t))
	sent := sending(ctx, s, text("x"))
	cancel()
	if err := result(t, sent); !errors.Is(err, context.Canceled) {
		t.Errorf("Send = %v", err)
	}
	sent = sending(within(t), s, text("x"))
	_ = s.Close()
	if err := result(t, sent); !errors.Is(err, msrp.ErrClosed) {
		t.Errorf("Send = %v", err)
	}
}

// Close lets the responses that wait leave, is idempotent, and ends both goroutines of the connection (goleak).
func TestCloseLetsResponsesLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, p := active(t, msrp.SessionOptions{Handler: newInbox()})
		for _, tid := range []string{"1test", "2test", "3test"} {
			p.send(tid, "m"+tid, "", "", "x", '$')
		}
		synctest.Wait() // the responses wait for us to read
		for range 3 {
			go s.Close()
		}
		synctest.Wait()
		for _, tid := range []string{"1test", "2test", "3test"} {
			p.expect(tid, "200")
		}
		p.closed()
		if err := s.Send(t.Context(), text("x")); !errors.Is(err, msrp.ErrClosed) {
			t.Errorf("Send = %v after Close", err)
		}
	})
	// A peer that reads nothing holds the connection 2 s at most.
	synctest.Test(t, func(t *testing.T) {
		s, p := active(t, msrp.SessionOptions{Handler: newInbox()})
		p.bind("1test") // its response waits for us to read
		synctest.Wait()
		begin := time.Now()
		_ = s.Close()
		synctest.Wait()
		_ = p.nc.SetWriteDeadline(time.Now().Add(time.Minute))
		for {
			if _, err := p.nc.Write([]byte("\r\n")); err != nil {
				break
			}
			time.Sleep(100 * time.Millisecond)
		}
		if took := time.Since(begin); took > 3*time.Second {
			t.Errorf("the connection stays open for %v", took)
		}
	})
}
