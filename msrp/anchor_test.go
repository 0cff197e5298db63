package msrp_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/imstest"
	"latchkey/msrp"
)

// The peers of an anchor.
const (
	aliceAt = "msrp://127.0.0.1:7395/alice;tcp"
	bobAt   = "msrp://127.0.0.1:7396/bob;tcp"
)

// join is how a test's peer comes to its leg.
type join string

const (
	dials  join = "peer dials"
	dialed join = "leg dials"
	byPipe join = "leg has a pipe"
)

// bound gives a raw peer, at the path, that is bound to the leg.
func (how join) bound(t *testing.T, l *msrp.Listener, leg *msrp.AnchorLeg, at string) *raw {
	t.Helper()
	var nc net.Conn
	done := make(chan error, 1)
	switch how {
	case dials:
		var err error
		if nc, err = net.Dial("tcp", l.Addr().String()); err != nil {
			t.Fatal(err)
		}
		l.ExpectLeg(leg)
		done <- nil
	case dialed:
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		ctx := within(t)
		go func() { done <- leg.Connect(ctx, (&net.Dialer{}).DialContext, ln.Addr().String(), nil) }()
		if nc, err = ln.Accept(); err != nil {
			t.Fatal(err)
		}
	case byPipe:
		ours, theirs := net.Pipe()
		nc = theirs
		ctx := within(t)
		go func() { done <- leg.ConnectOn(ctx, ours) }()
	}
	p := newRaw(t, nc)
	p.us, p.from = leg.Local().String(), at
	if how == dials {
		p.bind("bind0")
		p.expect("bind0", "200")
	} else {
		f := p.read()
		if f.what != "SEND" || f.get("Byte-Range") != "1-0/0" || f.hasBody {
			t.Fatalf("the first request is %+v, want an empty SEND", f)
		}
		p.ok(f)
	}
	if err := <-done; err != nil {
		t.Fatalf("Connect = %v", err)
	}
	return p
}

// newAnchor makes an anchor whose legs have URIs of the listener, between alice and bob where nobody else is named.
func newAnchor(t *testing.T, l *msrp.Listener, opt msrp.AnchorOptions) *msrp.Anchor {
	t.Helper()
	for _, leg := range []*msrp.LegOptions{&opt.A, &opt.B} {
		if leg.Local.Host == "" {
			leg.Local = l.NewURI()
		}
	}
	if opt.A.Remote == nil {
		opt.A.Remote = msrp.Path{uri(t, aliceAt)}
	}
	if opt.B.Remote == nil {
		opt.B.Remote = msrp.Path{uri(t, bobAt)}
	}
	a := msrp.NewAnchor(opt)
	t.Cleanup(func() { _ = a.Close() })
	return a
}

// anchored gives an anchor with a raw peer on each side.
func anchored(t *testing.T, opt msrp.AnchorOptions, a, b join) (an *msrp.Anchor, alice, bob *raw) {
	t.Helper()
	l := listen(t, msrp.ListenerOptions{})
	an = newAnchor(t, l, opt)
	return an, a.bound(t, l, an.A(), aliceAt), b.bound(t, l, an.B(), bobAt)
}

// wants reads text, in which \n is CRLF, to the last octet.
func (p *raw) wants(text string) {
	p.t.Helper()
	want := strings.ReplaceAll(text, "\n", "\r\n")
	got := make([]byte, len(want))
	_ = p.nc.SetReadDeadline(time.Now().Add(patience))
	n, err := io.ReadFull(p.r, got)
	if err != nil || string(got) != want {
		at := 0
		for at < n && got[at] == want[at] {
			at++
		}
		near := max(0, at-100)
		p.t.Fatalf("at %d got %.200q, %v\nwant %.200q", at, got[near:n], err, want[near:])
	}
}

// spell is a frame as a peer with this To-Path and From-Path writes it. rest has the lines behind them, the empty line and the body included.
func spell(tid, what, to, from, rest string, flag byte) string {
	return fmt.Sprintf("MSRP %s %s\nTo-Path: %s\nFrom-Path: %s\n%s-------%s%c\n", tid, what, to, from, rest, tid, flag)
}

// B4.19: each leg has its own path, and all else stays as it is, octet for octet: ids, ranges, unknown headers in their order. Responses
// go one hop, REPORTs the whole way (RFC 4975 §7.1.2, 7.2).
func TestAnchorChangesPathsOnly(t *testing.T) {
	const long = "msrp://relay.example:2855/r1;tcp;x=y msrp://r2.example:2855/r2;tcp " + bobAt
	for _, a := range []join{dials, dialed, byPipe} {
		for _, b := range []join{dials, dialed, byPipe} {
			t.Run(string(a+", "+b), func(t *testing.T) {
				l := listen(t, msrp.ListenerOptions{})
				path, err := msrp.ParsePath(long)
				if err != nil {
					t.Fatal(err)
				}
				an := newAnchor(t, l, msrp.AnchorOptions{B: msrp.LegOptions{Remote: path}})
				alice, bob := a.bound(t, l, an.A(), aliceAt), b.bound(t, l, an.B(), long)
				hop, _, _ := strings.Cut(long, " ")
				for _, rest := range []string{
					"Message-ID: m1.a\nX-One: 1;a=b\nSuccess-Report: yes\nByte-Range: 1-5/5\nFailure-Report: partial\nX-Two:  two \nContent-ID: <x>\nContent-Type: text/plain;charset=utf-8\n\nhello\n",
					"X-Zero: 0\nByte-Range: 1-*/*\nMessage-ID: m2.a\nContent-Type: a/b\n\n\n",
					"Message-ID: m3.a\nByte-Range: 1-2048/2048\nContent-Type: text/plain\n\n" + strings.Repeat("x", 2048) + "\n",
					"Message-ID: m3.b\nByte-Range: 1-4000/4000\nContent-Type: text/plain\n\n" + strings.Repeat("x", 4000) + "\n",
					"Message-ID: m4.a\nByte-Range: 1-*/30000\nContent-Type: text/plain\n\n" + strings.Repeat("y", 30000) + "\n",
				} {
					want := strings.Replace(rest, "1-4000/", "1-*/", 1) // it may be interrupted
					go alice.write(spell("a001", "SEND", alice.us, alice.from, rest, '+'))
					bob.wants(spell("a001", "SEND", long, bob.us, want, '+'))
					go bob.write(spell("a001", "413 Too much, thanks", bob.us, hop, "", '$'))
					alice.wants(spell("a001", "413 Too much, thanks", aliceAt, alice.us, "", '$'))
					go bob.write(spell("b001", "SEND", bob.us, long, rest, '$'))
					alice.wants(spell("b001", "SEND", aliceAt, alice.us, want, '$'))
					go alice.write(spell("b001", "200", alice.us, aliceAt, "", '$'))
					bob.wants(spell("b001", "200", hop, bob.us, "", '$'))
				}
				const report = "Message-ID: m1.a\nByte-Range: 1-5/5\nStatus: 000 200 OK\nX-Three: 3\n"
				go alice.write(spell("r001", "REPORT", alice.us, aliceAt, report, '$'))
				bob.wants(spell("r001", "REPORT", long, bob.us, report, '$'))
				go bob.write(spell("r002", "REPORT", bob.us, long, report, '$'))
				alice.wants(spell("r002", "REPORT", aliceAt, alice.us, report, '$'))
				if n, octets := an.A().Counts(); n != 6 || octets != 5+0+2048+4000+30000 {
					t.Errorf("Counts of A = %d, %d", n, octets)
				}
			})
		}
	}
}

// B4.04, B4.19: an empty SEND, with or without an empty body, is for the leg. Nothing of it goes on.
func TestAnchorLegAnswersEmptySends(t *testing.T) {
	_, alice, bob := anchored(t, msrp.AnchorOptions{}, dials, dialed)
	for _, p := range []*raw{alice, bob} {
		p.bind("keep1")
		p.expect("keep1", "200")
		p.write(p.sendText("keep2", "k2", "Byte-Range: 1-0/0\n", "") + "\n\n-------keep2$\n")
		p.expect("keep2", "200")
	}
	alice.send("s001", "m1", "Byte-Range: 1-2/2\n", "", "hi", '$')
	if f := bob.read(); f.tid != "s001" {
		t.Errorf("bob got %+v before the SEND", f)
	}
}

// B4.19: what is sent before the other side has come waits for it.
func TestAnchorHoldsWhatComesBeforeTheOtherSide(t *testing.T) {
	l := listen(t, msrp.ListenerOptions{})
	for range 20 { // the SEND that binds goes first, whoever waits
		an := newAnchor(t, l, msrp.AnchorOptions{})
		alice := dials.bound(t, l, an.A(), aliceAt)
		for i := range 3 {
			alice.send(fmt.Sprint("s00", i), fmt.Sprint("m", i), "Byte-Range: 1-5/5\n", "", "early", '$')
		}
		alice.send("s003", "m3", "Byte-Range: 1-*/*\n", "", strings.Repeat("early", 2000), '$')
		bob := dialed.bound(t, l, an.B(), bobAt)
		for i := range 4 {
			f := bob.read()
			if f.tid != fmt.Sprint("s00", i) || !strings.HasPrefix(string(f.body), "early") {
				t.Errorf("SEND %d is %s", i, f.tid)
			}
			bob.ok(f)
			alice.expect(f.tid, "200")
		}
	}
}

// B4.19, B5.04: nor does it wait for ever.
func TestAnchorIsOverWhenASideDoesNotCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := newPipes()
		l := msrp.NewListener(ln, msrp.ListenerOptions{})
		go func() { _ = l.Serve() }() // ends with Close
		defer l.Close()
		an := newAnchor(t, l, msrp.AnchorOptions{B: msrp.LegOptions{BindTimeout: 7 * time.Second}})
		l.ExpectLeg(an.A())
		alice := ln.dial(t, nil)
		alice.us, alice.from = an.A().Local().String(), aliceAt
		alice.bind("bind")
		alice.expect("bind", "200")
		begin := time.Now()
		l.ExpectLeg(an.B())
		alice.send("s001", "m1", "Byte-Range: 1-5/5\n", "", "early", '$')
		alice.closed()
		<-an.Done()
		if err := an.Err(); time.Since(begin) != 7*time.Second || !errors.Is(err, msrp.ErrNotBound) || !strings.Contains(err.Error(), "leg B") {
			t.Errorf("over after %v with %v", time.Since(begin), err)
		}
		_ = alice.nc.Close()
	})
}

// F44, B4.13: a message that the other side doesn't take is answered by the leg, chunk by chunk with the same code, and none of it goes on.
func TestAnchorRefusesForTheOtherSide(t *testing.T) {
	opt := msrp.AnchorOptions{B: msrp.LegOptions{AcceptTypes: []string{"text/plain", "image/*"}, MaxSize: 5000}}
	_, alice, bob := anchored(t, opt, dials, dialed)
	typed := func(tid, id, span, contentType, body string, flag byte) {
		alice.write(spell(tid, "SEND", alice.us, alice.from, "Message-ID: "+id+"\nByte-Range: "+span+"\nContent-Type: "+contentType+"\n\n"+body+"\n", flag))
	}
	for _, c := range []struct {
		tid, id, span, contentType, body string
		flag                             byte
		want                             string
	}{
		{"t000", "liar0", "4999-5000/5000", "text/plain", "xxx", '$', "413"}, // as long as nothing was refused
		{"t001", "html", "1-4/8", "text/html", "text", '+', "415"},
		{"t002", "html", "5-8/8", "text/html", "text", '$', "415"},
		{"t003", "big", "1-*/5001", "text/plain", "text", '+', "413"},
		{"t004", "big", "5-*/5001", "text/plain", "text", '+', "413"},
		{"t005", "big2", "5001-5002/*", "text/plain", "xx", '+', "413"},
		{"t006", "liar", "1-5/5", "text/plain", strings.Repeat("x", 5001), '$', "413"},
		{"t007", "liar2", "4999-5000/5000", "text/plain", "xxx", '$', "413"},
		{"t008", "mute", "1-2/2", "", "", '$', "400"},
	} {
		if c.contentType == "" {
			alice.write(spell(c.tid, "SEND", alice.us, alice.from, "Message-ID: mute\nByte-Range: 1-2/2\n\nxx\n", '$'))
		} else {
			typed(c.tid, c.id, c.span, c.contentType, c.body, c.flag)
		}
		if c.id == "liar" { // a total that is wrong is found where the limit is passed
			if f := bob.read(); f.tid != "t006" || f.flag != '#' || len(f.body) > 5000 {
				t.Errorf("bob got %s, %d octets, flag %c, want it given up", f.tid, len(f.body), f.flag)
			}
		}
		alice.expect(c.tid, c.want)
	}
	// What was refused may be tried again as something else, and other messages are not concerned.
	typed("u001", "html", "1-4/4", "TEXT/Plain; charset=utf-8", "text", '$')
	typed("u002", "m2", "1-*/5000", "image/png", strings.Repeat("p", 5000), '$')
	for _, tid := range []string{"u001", "u002"} {
		f := bob.read()
		if f.tid != tid {
			t.Fatalf("bob got %+v, want %s", f, tid)
		}
		bob.ok(f)
		alice.expect(tid, "200")
	}
}

// F44, B4.13, B4.09: where the size is not told, the limit is found in mid-message: the receiver is told to forget it (#), the sender gets 413 at once, before
// its chunk ends, and the rest goes nowhere.
func TestAnchorEndsAMessageThatGrowsTooLarge(t *testing.T) {
	_, alice, bob := anchored(t, msrp.AnchorOptions{B: msrp.LegOptions{MaxSize: 5000}}, dials, dialed)
	alice.send("s001", "grow", "Byte-Range: 1-*/*\n", "", strings.Repeat("a", 3000), '+')
	bob.ok(bob.read())
	alice.expect("s001", "200")
	alice.write(alice.sendText("s002", "grow", "Byte-Range: 3001-*/*\n", "") + "Content-Type: text/plain\n\n" + strings.Repeat("b", 1000))
	alice.write(strings.Repeat("b", 1001))
	f := bob.read()
	if f.tid != "s002" || f.flag != '#' || len(f.body) > 2000 {
		t.Errorf("bob got %s, %d octets, flag %c, want at most 2000 with #", f.tid, len(f.body), f.flag)
	}
	alice.expect("s002", "413")
	alice.write(strings.Repeat("b", 100000) + "\n-------s002+\n")
	alice.send("s003", "grow", "Byte-Range: 105002-*/*\n", "", "more", '#')
	alice.expect("s003", "413")
	alice.send("s004", "other", "Byte-Range: 1-*/*\n", "", "other", '$')
	if f := bob.read(); f.tid != "s004" {
		t.Errorf("bob got %+v, want the next message", f)
	}
}

// B4.15, B4.11: with Sessions at both ends, a refusal reaches the sender, and REPORTs come with their ranges, over several chunks.
func TestAnchorBetweenSessions(t *testing.T) {
	l := listen(t, msrp.ListenerOptions{})
	refuse := map[string]int{}
	at := newInbox()
	at.answer = func(m *msrp.IncomingMessage) error {
		n, err := io.Copy(io.Discard, m.Body)
		if err != nil {
			return err
		}
		if code := refuse[m.ID]; code != 0 {
			return &msrp.StatusError{Code: code, Comment: "as the test wants"}
		}
		at.got <- fmt.Sprint(m.ID, " ", n)
		return nil
	}
	for _, code := range []int{413, 415, 403, 481} {
		refuse[fmt.Sprint("refuse", code)] = code
	}
	a, b, an := sessions(t, l, msrp.AnchorOptions{}, newInbox(), at)
	ctx := within(t)
	send := func(from *msrp.Session, id string, n int, failure string) error {
		return from.Send(ctx, &msrp.Message{ID: id, ContentType: "text/plain", Body: strings.NewReader(strings.Repeat("x", n)), Size: int64(n), SuccessReport: true, FailureReport: failure})
	}
	for _, failure := range []string{"", "no", "partial"} {
		for _, n := range []int{0, 1, 2048, 2049, 50000, 300000} {
			id := fmt.Sprint("m", failure, n)
			if err := send(a.s, id, n, failure); err != nil {
				t.Fatalf("Send(%s) = %v", id, err)
			}
			if got, want := at.next(t), fmt.Sprint(id, " ", n); got != want {
				t.Errorf("b got %q, want %q", got, want)
			}
			if got, want := a.in.next(t), fmt.Sprintf("report %s 1-%d/%d 200", id, n, n); got != want {
				t.Errorf("a got %q, want %q", got, want)
			}
		}
	}
	if err := send(b.s, "back", 100000, ""); err != nil {
		t.Errorf("Send back = %v", err)
	}
	for _, code := range []int{413, 415, 403, 481} {
		for _, n := range []int{10, 100000} {
			if code == 481 && n == 100000 {
				continue // the session is over by then
			}
			status, ok := errors.AsType[*msrp.StatusError](send(a.s, fmt.Sprint("refuse", code), n, ""))
			if !ok || status.Code != code || status.Comment != "as the test wants" {
				t.Errorf("Send(refused with %d) = %v", code, status)
			}
		}
	}
	<-a.s.Done() // by the 481
	<-an.Done()
	<-b.s.Done()
}

// end is a Session at one side of an anchor.
type end struct {
	s  *msrp.Session
	in *inbox
}

// sessions gives an anchor with Sessions at both ends; the first one connects to its leg, and the second leg to its session, all of them on
// one listener.
func sessions(t *testing.T, l *msrp.Listener, opt msrp.AnchorOptions, atA, atB *inbox) (a, b end, an *msrp.Anchor) {
	t.Helper()
	make := func(in *inbox) end {
		s := msrp.NewSession(msrp.SessionOptions{Local: l.NewURI(), Handler: in})
		t.Cleanup(func() { _ = s.Close() })
		return end{s, in}
	}
	a, b = make(atA), make(atB)
	opt.A.Remote, opt.B.Remote = msrp.Path{a.s.Local()}, msrp.Path{b.s.Local()}
	an = newAnchor(t, l, opt)
	l.ExpectLeg(an.A())
	a.s.SetRemote(msrp.Path{an.A().Local()})
	b.s.SetRemote(msrp.Path{an.B().Local()})
	l.Expect(b.s)
	dial := (&net.Dialer{}).DialContext
	if err := a.s.Connect(within(t), dial, l.Addr().String(), nil); err != nil {
		t.Fatal(err)
	}
	if err := an.B().Connect(within(t), dial, l.Addr().String(), nil); err != nil {
		t.Fatal(err)
	}
	return a, b, an
}

// B4.19, B4.10: phones whose code has nothing in common with this package chat through an anchor, in both directions at once.
func TestAnchorBetweenPhones(t *testing.T) {
	l, ctx := listen(t, msrp.ListenerOptions{}), within(t)
	phone := func() *imstest.Media {
		p, err := imstest.NewMedia("sip:a@cc.com", "sip:b@guest.example")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.Close)
		return p
	}
	a, b := phone(), phone()
	at := func(p *imstest.Media) msrp.Path {
		return msrp.Path{uri(t, "msrp://127.0.0.1:"+p.Port()+"/"+p.ID()+";tcp")}
	}
	an := newAnchor(t, l, msrp.AnchorOptions{A: msrp.LegOptions{Remote: at(a)}, B: msrp.LegOptions{Remote: at(b), AcceptTypes: []string{"message/cpim"}, MaxSize: 1 << 20}})
	l.ExpectLeg(an.A())
	if err := a.Connect(an.A().Local().String()); err != nil {
		t.Fatal(err)
	}
	b.Await()
	if err := an.B().Connect(ctx, (&net.Dialer{}).DialContext, "127.0.0.1:"+b.Port(), nil); err != nil {
		t.Fatal(err)
	}
	lengths := []int{1, 2000, 5000, 100000}
	sent := make(chan error, 2)
	for i, p := range []*imstest.Media{a, b} {
		go func() {
			for _, n := range lengths {
				if _, err := p.Send(ctx, fmt.Sprint(i, strings.Repeat("é", n))); err != nil {
					sent <- err
					return
				}
			}
			sent <- nil
		}()
	}
	for range 2 {
		if err := <-sent; err != nil {
			t.Fatal(err)
		}
	}
	for i, p := range []*imstest.Media{a, b} {
		events, err := p.Wait(ctx, "message", len(lengths))
		if err != nil {
			t.Fatal(err)
		}
		for k, n := range lengths {
			if want := fmt.Sprint(1-i, strings.Repeat("é", n)); events[k].Text != want {
				t.Errorf("message %d has %d octets, want %d", k, len(events[k].Text), len(want))
			}
		}
		if v := p.Violations(); len(v) > 0 {
			t.Errorf("violations: %q", v)
		}
	}
}

// shared gives two anchors whose receivers, bob1 and bob2, have one connection; it also carries a plain Session.
func shared(t *testing.T, opt msrp.AnchorOptions) (alices [2]*raw, bob *raw, bobs [2]string, plain end, ans [2]*msrp.Anchor) {
	t.Helper()
	l := listen(t, msrp.ListenerOptions{})
	plain = end{in: newInbox()}
	plain.s = msrp.NewSession(msrp.SessionOptions{Local: l.NewURI(), Remote: msrp.Path{uri(t, "msrp://127.0.0.1:7396/plain;tcp")}, Handler: plain.in})
	t.Cleanup(func() { _ = plain.s.Close() })
	l.Expect(plain.s)
	for i := range ans {
		at := fmt.Sprintf("msrp://127.0.0.1:7396/bob%d;tcp", i)
		opt.B.Remote = msrp.Path{uri(t, at)}
		ans[i] = newAnchor(t, l, opt)
		alices[i] = dials.bound(t, l, ans[i].A(), aliceAt)
		l.ExpectLeg(ans[i].B())
		bobs[i] = at
	}
	nc, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	bob = newRaw(t, nc)
	for i, us := range []string{ans[0].B().Local().String(), ans[1].B().Local().String(), plain.s.Local().String()} {
		bob.us, bob.from = us, []string{bobs[0], bobs[1], "msrp://127.0.0.1:7396/plain;tcp"}[i]
		bob.bind(fmt.Sprint("bind", i))
		bob.expect(fmt.Sprint("bind", i), "200")
	}
	return alices, bob, bobs, plain, ans
}

// comes waits until something is there to read.
func (p *raw) comes() {
	p.t.Helper()
	_ = p.nc.SetReadDeadline(time.Now().Add(patience))
	if _, err := p.r.Peek(1); err != nil {
		p.t.Fatalf("nothing comes: %v", err)
	}
}

// silent checks that nothing has come.
func (p *raw) silent() {
	p.t.Helper()
	_ = p.nc.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
	if got, err := p.r.Peek(1); err == nil {
		p.t.Errorf("got %q, want nothing yet", got)
	}
}

// begin writes the head of a chunk of unknown length, and some of its body.
func (p *raw) begin(tid, id, fields, body string) {
	p.write(p.sendText(tid, id, "Byte-Range: 1-*/*\n", fields) + "Content-Type: text/plain\n\n" + body)
}

// F47, B4.09, B4.19: a sender who stalls in the middle of a chunk holds nobody else back on a connection that is shared: the chunk is ended (+) and goes on under
// another transaction, with the right range. Its sender gets one response, the last one.
func TestAnchorInterruptsAStalledChunk(t *testing.T) {
	alices, bob, bobs, plain, _ := shared(t, msrp.AnchorOptions{})
	slow, other := alices[0], alices[1]
	var tids []string
	body := ""
	part := func(ends byte) frame {
		t.Helper()
		f := bob.read()
		if to := f.get("To-Path"); to != bobs[0] || f.flag != ends || f.get("Message-ID") != "big" || f.get("X-Kept") != "yes" {
			t.Fatalf("got %+v of the slow one, flag %c, want %c", f, f.flag, ends)
		}
		if start, _, _ := f.span(); start != len(body)+1 {
			t.Errorf("part %d begins at %d, want %d", len(tids), start, len(body)+1)
		}
		tids, body = append(tids, f.tid), body+string(f.body)
		return f
	}
	slow.begin("slow", "big", "X-Kept: yes\n", strings.Repeat("a", 5000))
	bob.comes()
	other.send("o001", "m1", "Byte-Range: 1-2/2\n", "", "hi", '$') // by another anchor
	p1 := part('+')
	f := bob.read()
	if f.tid != "o001" {
		t.Fatalf("got %+v, want the other one's SEND", f)
	}
	bob.ok(f)
	other.expect("o001", "200")
	bob.ok(p1)
	for i := range 3 {
		slow.write(strings.Repeat("b", 3000))
		bob.comes()
		bob.us = plain.s.Local().String() // a leg's, and a session's, own response
		tid := fmt.Sprint("keep", i)
		bob.bind(tid)
		bob.ok(part('+'))
		bob.expect(tid, "200")
		bob.bind(tid + "b") // behind the response to the part
		bob.expect(tid+"b", "200")
		slow.silent()
	}
	slow.write("end\n-------slow$\n")
	last := part('$')
	if want := strings.Repeat("a", 5000) + strings.Repeat("b", 9000) + "end"; body != want {
		t.Errorf("the body has %d octets, want %d", len(body), len(want))
	}
	for i, tid := range tids[1:] {
		if tid == "slow" || tid == tids[i] {
			t.Errorf("transactions %q", tids)
		}
	}
	bob.ok(last)
	slow.expect("slow", "200")
	slow.bind("next") // nothing came between
	slow.expect("next", "200")
}

// B4.15, B4.19: a refusal of one part is the answer to the chunk, once, whether it comes before the chunk was divided or after it.
func TestAnchorPassesARefusalOfAPartOnce(t *testing.T) {
	for _, early := range []bool{true, false} {
		t.Run(fmt.Sprint("early ", early), func(t *testing.T) {
			alices, bob, bobs, plain, ans := shared(t, msrp.AnchorOptions{})
			slow := alices[0]
			slow.begin("slow", "big", "", strings.Repeat("a", 40000))
			bob.comes()
			bob.us = plain.s.Local().String()
			if early {
				bob.write(spell("slow", "413 Enough", ans[0].B().Local().String(), bobs[0], "", '$'))
				slow.expect("slow", "413")
			}
			bob.bind("keep1")
			p1 := bob.read()
			bob.expect("keep1", "200")
			if !early {
				bob.answer(p1, "413 Enough")
				slow.expect("slow", "413")
			}
			slow.write("more")
			bob.comes()
			bob.bind("keep2")
			p2 := bob.read()
			bob.expect("keep2", "200")
			bob.answer(p2, "413 Enough")
			slow.write("\n-------slow#\n")
			p3 := bob.read()
			if p3.flag != '#' {
				t.Errorf("the last part has %c", p3.flag)
			}
			bob.ok(p3)
			slow.bind("next")
			slow.expect("next", "200")
		})
	}
}
