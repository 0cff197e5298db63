package msrp_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"latchkey/msrp"
)

// B4.09, B4.19: when a sender vanishes in the middle of a chunk, its receiver is told to forget the message (#), whether the chunk was divided or not; and
// the anchor says why it is over.
func TestAnchorTellsWhenASenderVanishes(t *testing.T) {
	over := func(t *testing.T, a *msrp.Anchor, side string) {
		t.Helper()
		select {
		case <-a.Done():
		case <-time.After(patience):
			t.Fatal("the anchor is not over")
		}
		if err := a.Err(); err == nil || !strings.Contains(err.Error(), "leg "+side+": msrp connection lost") {
			t.Errorf("Err = %v", err)
		}
	}
	t.Run("alone", func(t *testing.T) {
		a, alice, bob := anchored(t, msrp.AnchorOptions{}, dials, byPipe)
		alice.begin("s001", "m1", "", strings.Repeat("a", 5000))
		bob.comes()
		_ = alice.nc.Close()
		if f := bob.read(); f.tid != "s001" || f.flag != '#' {
			t.Errorf("bob got %s%c", f.tid, f.flag)
		}
		bob.closed()
		over(t, a, "A")
	})
	t.Run("on a shared connection", func(t *testing.T) {
		alices, bob, _, plain, ans := shared(t, msrp.AnchorOptions{})
		alices[0].begin("s001", "m1", "", strings.Repeat("a", 5000))
		bob.comes()
		_ = alices[0].nc.Close()
		if f := bob.read(); f.tid != "s001" || f.flag != '#' {
			t.Errorf("bob got %s%c", f.tid, f.flag)
		}
		over(t, ans[0], "A")
		alices[1].begin("s002", "m2", "", strings.Repeat("a", 5000))
		bob.comes()
		bob.us = plain.s.Local().String()
		bob.bind("keep")
		first := bob.read()
		bob.expect("keep", "200")
		_ = alices[1].nc.Close()
		last := bob.read()
		if start, _, _ := last.span(); first.flag != '+' || last.flag != '#' || start != len(first.body)+len("")+1 || last.get("Message-ID") != "m2" || last.tid == first.tid {
			t.Errorf("bob got %+v after a part of %d octets, flag %c", last, len(first.body), last.flag)
		}
		over(t, ans[1], "A")
		bob.bind("more") // the connection has a session yet
		bob.expect("more", "200")
	})
	t.Run("receiver", func(t *testing.T) {
		a, alice, bob := anchored(t, msrp.AnchorOptions{}, dials, dialed)
		alice.begin("s001", "m1", "", "aaa")
		bob.comes()
		_ = bob.nc.Close()
		alice.closed()
		over(t, a, "B")
	})
	t.Run("closed", func(t *testing.T) {
		a, alice, bob := anchored(t, msrp.AnchorOptions{}, dials, dialed)
		alice.begin("s001", "m1", "", "aaa")
		bob.comes()
		_ = a.Close()
		alice.closed()
		if f, err := bob.tryRead(); err == nil && f.flag != '#' {
			t.Errorf("bob got %+v", f)
		}
		if err := a.Err(); !errors.Is(err, msrp.ErrClosed) {
			t.Errorf("Err = %v", err)
		}
	})
}

// S13, B4.19: a receiver that reads nothing holds its sender back, and nothing is lost by that.
func TestAnchorHoldsASenderBack(t *testing.T) {
	_, alice, bob := anchored(t, msrp.AnchorOptions{}, dials, dialed)
	const most = 64 << 20
	piece := bytes.Repeat([]byte("0123456789abcdef"), 4<<10)
	alice.begin("s001", "m1", "", "")
	sent := 0
	for sent < most {
		_ = alice.nc.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
		n, err := alice.nc.Write(piece[sent%len(piece):])
		if sent += n; err != nil {
			break
		}
	}
	if sent >= most {
		t.Fatalf("the sender got rid of %d octets", sent)
	}
	_ = alice.nc.SetWriteDeadline(time.Time{})
	go alice.write("\n-------s001$\n")
	if f := bob.read(); f.flag != '$' || len(f.body) != sent || !bytes.Equal(f.body[:min(sent, len(piece))], piece[:min(sent, len(piece))]) {
		t.Errorf("bob got %d octets of %d", len(f.body), sent)
	}
}

// S13, F47: whatever goes through, and in whatever chunks, an anchor keeps none of it.
func TestAnchorNeedsNoMemory(t *testing.T) {
	const most, step = 256 << 20, 32 << 20
	for _, chunk := range []int{most, 64 << 10} {
		t.Run(fmt.Sprint(chunk), func(t *testing.T) {
			_, alice, bob := anchored(t, msrp.AnchorOptions{}, dials, dialed)
			go func() { // ends when all is written, or with the connection
				part := bytes.Repeat([]byte("x"), 64<<10)
				for sent := 0; sent < most; {
					alice.write(alice.sendText(fmt.Sprintf("s%d", 1000+sent), "m1", fmt.Sprintf("Byte-Range: %d-*/%d\n", sent+1, most), "") + "Content-Type: text/plain\n\n")
					for range chunk / len(part) {
						if _, err := alice.nc.Write(part); err != nil {
							return
						}
					}
					alice.write(fmt.Sprintf("\n-------s%d+\n", 1000+sent))
					sent += chunk
				}
			}()
			heap := func() uint64 {
				runtime.GC()
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				return m.HeapAlloc
			}
			before, buf := heap(), make([]byte, 256<<10)
			for got := 0; got < most; got += step {
				_ = bob.nc.SetReadDeadline(time.Now().Add(patience))
				if _, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, io.LimitReader(struct{ io.Reader }{bob.nc}, step), buf); err != nil {
					t.Fatal(err)
				}
				if now := heap(); now > before+4<<20 {
					t.Errorf("%d octets of heap after %d, %d before", now, got+step, before)
				}
			}
			_ = alice.nc.Close()
		})
	}
}

// B4.07, B4.19: frames go through the same in whatever pieces they come: octet by octet, cut anywhere, many at once; look-alikes of end-lines are body.
func TestAnchorReadsFramesInAnyPieces(t *testing.T) {
	for _, how := range []join{dials, byPipe} {
		for _, size := range []int{1, 2, 3, 7, 64, 1000, 1 << 20} {
			t.Run(fmt.Sprint(how, size), func(t *testing.T) {
				_, alice, bob := anchored(t, msrp.AnchorOptions{}, how, dials)
				var all, want strings.Builder
				for i := range 120 {
					tid := fmt.Sprintf("t%04d", i)
					body := []string{
						"", "hello", "\n", "\n\n-------" + tid, "-------" + tid + "$x", "\n-------" + tid + "!\n\n-------" + tid + "+x", "\n-------", "\n-------t9999$\n", strings.Repeat("\n-", 600),
					}[i%9]
					span := fmt.Sprintf("1-%d/%d", len(strings.ReplaceAll(body, "\n", "\r\n")), 5000)
					if i%4 == 3 {
						span = "1-*/*"
					}
					rest := fmt.Sprintf("Message-ID: m%d\nByte-Range: %s\nX-Unknown: %d\nContent-Type: text/plain\n\n%s\n", i, span, i, body)
					all.WriteString(spell(tid, "SEND", alice.us, alice.from, rest, '$'))
					// What is not whole at once may be put together anew, in the order of RFC 4975 §9.
					want.WriteString(spell(tid, "SEND", bob.from, bob.us, rest, '$'))
				}
				text := strings.ReplaceAll(all.String(), "\n", "\r\n")
				go func() { // ends when all is written, or with the connection
					for i := 0; i < len(text); i += size {
						if _, err := io.WriteString(alice.nc, text[i:min(i+size, len(text))]); err != nil {
							return
						}
					}
				}()
				bob.wants(want.String())
			})
		}
	}
}

// B4.07, B4.12, S13: what is wrong is answered by the leg, and doesn't reach the other side; what is written oddly goes through; and nothing of
// what stands behind it suffers.
func TestAnchorAnswersWhatIsWrong(t *testing.T) {
	for _, how := range []join{dials, byPipe} {
		t.Run(string(how), func(t *testing.T) {
			_, alice, bob := anchored(t, msrp.AnchorOptions{}, how, dialed)
			const body = "Content-Type: text/plain\n\nhi\n"
			const good = "Message-ID: m1\nByte-Range: 1-2/2\n"
			n := 0
			for _, c := range []struct{ method, rest, want string }{
				{"SEND", "-------\n" + good + body, "400"},
				{"SEND", "-------%\n" + good + body, "400"},
				{"SEND", good + "To-Path: " + bobAt + "\n" + body, "400"},
				{"SEND", good + "from-path: " + bobAt + "\n" + body, "400"},
				{"SEND", good + "no colon\n" + body, "400"},
				{"SEND", good + ": no name\n" + body, "400"},
				{"SEND", good + "X Y: bad name\n" + body, "400"},
				{"SEND", good + "X-Control: \x00\n" + body, "400"},
				{"SEND", good + "X-Return: a\rb\n" + body, "400"},
				{"SEND", good + "X-Latin: \xe9\n" + body, "400"},
				{"SEND", "Byte-Range: 1-2/2\n" + body, "400"},
				{"SEND", "Message-ID: m1\nByte-Range: 0-2/2\n" + body, "400"},
				{"SEND", "Message-ID: m1\nByte-Range: 1-2/2/3\n" + body, "400"},
				{"SEND", "Message-ID: m1\nByte-Range: 1-2/2\n\nhi\n", "400"},
				{"FOO", good + body, "501"},
				{"send", good + body, "400"},
				{"SEND", good + "X-Good: é\n" + body, ""},
				{"SEND", "message-id:m1\nBYTE-RANGE:  1-2/2 \nX-Lower:1\n" + body, ""},
				{"SEND", "X-First: 1\nByte-Range: 1-2/2\nMessage-ID: m0\nmessage-id: m1\n" + body, ""},
				{"SEND", good + "Content-Disposition: inline\n" + body, ""},
			} {
				n++
				tid := fmt.Sprintf("w%03d", n)
				next := fmt.Sprintf("n%03d", n)
				c.rest = strings.ReplaceAll(c.rest, "%", tid)
				go alice.write(spell(tid, c.method, alice.us, alice.from, c.rest, '$') + spell(next, "SEND", alice.us, alice.from, good+body, '$'))
				if c.want == "" {
					f := bob.read()
					if f.tid != tid || f.get("Message-ID") != "m1" || f.get("Byte-Range") != "1-2/2" || string(f.body) != "hi" || f.get("To-Path") != bobAt {
						t.Errorf("bob got %+v of %q", f, c.rest)
					}
				} else {
					alice.expect(tid, c.want)
				}
				if f := bob.read(); f.tid != next || string(f.body) != "hi" {
					t.Errorf("bob got %+v behind %q", f, c.rest)
				}
			}
			for _, c := range []struct{ tid, to, from, want string }{
				{"p001", "msrp://127.0.0.1:1/nobody;tcp", aliceAt, "481"},
				{"p002", alice.us + "?", "\x7f", "400"},
				{"p003", alice.us, "http://example/", "400"},
				{"p004", strings.ToUpper("msrp") + strings.TrimPrefix(alice.us, "msrp"), aliceAt, ""},
				{"xx", alice.us, aliceAt, "400"},
			} {
				go alice.write(spell(c.tid, "SEND", c.to, c.from, good+body, '$'))
				if c.want != "" {
					alice.expect(c.tid, c.want)
				} else if f := bob.read(); f.tid != c.tid {
					t.Errorf("bob got %+v, want %s", f, c.tid)
				}
			}
		})
	}
}

// B4.03, B4.18, §6.1: a leg's URI may be written otherwise; a lenient leg looks at the session id alone.
func TestAnchorKnowsItsURIs(t *testing.T) {
	const at = "msrp://[2001:db8::1]:2855/legA;tcp"
	for _, c := range []struct {
		lenient bool
		to      string
		goes    bool
	}{
		{false, at, true},
		{false, "MSRP://u@[2001:DB8:0::1]:2855/legA;TCP;x", true},
		{false, "msrp://10.0.0.1:9/legA;tcp", false},
		{true, "msrp://10.0.0.1:9/legA;tcp", true},
		{true, "msrp://10.0.0.1:9/lega;tcp", false},
	} {
		t.Run(fmt.Sprint(c.lenient, c.to), func(t *testing.T) {
			a, alice, bob := anchored(t, msrp.AnchorOptions{A: msrp.LegOptions{Local: uri(t, at), Lenient: c.lenient}}, byPipe, dials)
			if a.A().Local().String() != at {
				t.Errorf("Local = %s", a.A().Local())
			}
			alice.us = c.to
			go alice.send("s001", "m1", "Byte-Range: 1-2/2\n", "", "hi", '$')
			if !c.goes {
				alice.expect("s001", "481")
				return
			}
			f := bob.read()
			go bob.ok(f)
			if f := alice.expect("s001", "200"); f.get("From-Path") != at || f.get("To-Path") != aliceAt {
				t.Errorf("alice got %+v", f)
			}
		})
	}
}

// B4.04, B4.19: a connection may carry both legs of an anchor.
func TestAnchorOnOneConnection(t *testing.T) {
	l := listen(t, msrp.ListenerOptions{})
	a := newAnchor(t, l, msrp.AnchorOptions{B: msrp.LegOptions{MaxSize: 5000}})
	p := dials.bound(t, l, a.A(), aliceAt)
	l.ExpectLeg(a.B())
	toA := p.us
	p.us, p.from = a.B().Local().String(), bobAt
	p.bind("bind1")
	p.expect("bind1", "200")
	p.us, p.from = toA, aliceAt
	for i := range 100 { // refusals are owed on the connection that they come from
		p.send(fmt.Sprintf("s%03d", i), fmt.Sprint("m", i), "Byte-Range: 1-*/*\n", "", strings.Repeat("x", 4000+1001*(i%2)), '$')
	}
	ended, refused, whole := 0, 0, 0
	for refused < 50 || ended < 50 || whole < 50 {
		switch f := p.read(); {
		case strings.HasPrefix(f.what, "413"):
			refused++
		case f.flag == '#':
			ended++
		case f.what == "SEND" && f.get("To-Path") == bobAt:
			if f.flag == '$' {
				whole++
			}
		default:
			t.Fatalf("got %+v", f)
		}
	}
}

// chunkPlan is one chunk of a message.
type chunkPlan struct {
	id, tid    string
	start, end int
	star       bool
	flag       byte
}

// B4.07, B4.09, B4.10, B4.19: chunks of several messages, of two senders, in any order and in any pieces, arrive on a shared connection as the same messages
// octet by octet; and each SEND has one response.
func TestAnchorKeepsMessages(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		alices, bob, bobs, plain, ans := shared(t, msrp.AnchorOptions{})
		defer func() {
			_ = ans[0].Close()
			_ = ans[1].Close()
			_ = plain.s.Close()
		}()
		rnd := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 1))
		want := map[string]string{}
		var streams [2]string
		var answers [2]map[string]bool
		for i := range alices {
			var chunks []chunkPlan
			for m := range rapid.IntRange(1, 4).Draw(rt, "messages") {
				id := fmt.Sprintf("m%d.%d", i, m)
				size := rapid.SampledFrom([]int{0, 1, 100, 2048, 2049, 9000}).Draw(rt, "size")
				body := make([]byte, 0, size+40)
				for len(body) < size {
					body = append(body, []string{"\r\n", "-------", "\r\n-------c0001!!", "\r\n-------zzzz$\r\n", strings.Repeat("é", 1+rnd.IntN(300)), "\x00\r"}[rnd.IntN(6)]...)
				}
				body = body[:size]
				want[bobs[i]+id] = string(body)
				for at := 0; at < size || at == 0; {
					n := min(size-at, []int{10, 700, 2048, 5000, 20000}[rnd.IntN(5)])
					if at += n; at == size {
						chunks = append(chunks, chunkPlan{id: id, start: at - n, end: at, star: n > 2048 || rnd.IntN(2) == 0, flag: '$'})
						break
					}
					chunks = append(chunks, chunkPlan{id: id, start: at - n, end: at, star: n > 2048 || rnd.IntN(2) == 0, flag: '+'})
				}
			}
			rnd.Shuffle(len(chunks), func(a, b int) { chunks[a], chunks[b] = chunks[b], chunks[a] })
			answers[i] = map[string]bool{}
			var all strings.Builder
			for k, c := range chunks {
				c.tid = fmt.Sprintf("c%04d", k)
				answers[i][c.tid] = true
				span := fmt.Sprintf("%d-%d/%d", c.start+1, c.end, len(want[bobs[i]+c.id]))
				if c.star {
					span = fmt.Sprintf("%d-*/*", c.start+1)
				}
				head := alices[i].sendText(c.tid, c.id, "Byte-Range: "+span+"\n", "") + "Content-Type: text/plain\n\n"
				all.WriteString(strings.ReplaceAll(head, "\n", "\r\n") + want[bobs[i]+c.id][c.start:c.end] + fmt.Sprintf("\r\n-------%s%c\r\n", c.tid, c.flag))
			}
			streams[i] = all.String()
		}
		sizes := [2]int{rapid.SampledFrom([]int{40, 400, 2000, 1 << 20}).Draw(rt, "pieces of 0"), rapid.SampledFrom([]int{50, 500, 30000}).Draw(rt, "pieces of 1")}
		var jobs sync.WaitGroup
		failed := make(chan error, 4)
		for i, p := range alices {
			jobs.Go(func() {
				for s := streams[i]; len(s) > 0; {
					n := min(len(s), sizes[i])
					if _, err := io.WriteString(p.nc, s[:n]); err != nil {
						failed <- err
						return
					}
					s = s[n:]
				}
			})
			jobs.Go(func() {
				for range len(answers[i]) {
					f, err := p.tryRead()
					if err != nil || f.what != "200 OK" || !answers[i][f.tid] {
						failed <- fmt.Errorf("alice%d got %+v, %v, %d answers to come", i, f, err, len(answers[i]))
						return
					}
					delete(answers[i], f.tid)
				}
			})
		}
		got, ended := map[string][]byte{}, make(chan struct{})
		go func() { // ends with the connection
			defer close(ended)
			for {
				f, err := bob.tryRead()
				if err != nil {
					return
				}
				key := f.get("To-Path") + f.get("Message-ID")
				start, _, _ := f.span()
				if want := start - 1 + len(f.body); len(got[key]) < want {
					got[key] = append(got[key], make([]byte, want-len(got[key]))...)
				}
				copy(got[key][start-1:], f.body)
				bob.ok(f)
			}
		}()
		jobs.Wait()
		for i, p := range alices {
			p.bind("last") // nothing else came
			if f, err := p.tryRead(); len(failed) == 0 && (err != nil || f.tid != "last") {
				failed <- fmt.Errorf("alice%d got %+v, %v, want nothing more", i, f, err)
			}
			_ = p.nc.Close()
		}
		_ = bob.nc.Close()
		<-ended
		close(failed)
		for err := range failed {
			rt.Error(err)
		}
		for key, body := range want {
			if string(got[key]) != body {
				rt.Errorf("%s has %d octets, want %d", key, len(got[key]), len(body))
			}
		}
	})
}

// S13, F47: many anchors on one listener, with traffic in both directions, closed at any moment from any side: what was acknowledged has arrived, and all of them end.
func TestAnchorsInNumbers(t *testing.T) {
	l := listen(t, msrp.ListenerOptions{MaxUnbound: 10000})
	const anchors = 200
	var ends sync.WaitGroup
	for i := range anchors {
		var jobs sync.WaitGroup
		rnd := rand.New(rand.NewPCG(uint64(i), 7))
		var mu sync.Mutex
		got := map[string]bool{}
		in := func() *inbox {
			return &inbox{answer: func(m *msrp.IncomingMessage) error {
				n, err := io.Copy(io.Discard, m.Body)
				mu.Lock()
				defer mu.Unlock()
				got[fmt.Sprint(m.ID, n)] = err == nil
				return err
			}}
		}
		a, b, an := sessions(t, l, msrp.AnchorOptions{}, in(), in())
		ctx := within(t) // to make all of them takes its time, too
		sizes := make([]int, 16)
		for k := range sizes {
			sizes[k] = []int{0, 10, 2000, 3000, 40000, 150000}[rnd.IntN(6)]
		}
		closer := []func() error{a.s.Close, b.s.Close, an.Close}[rnd.IntN(3)]
		for k, n := range sizes {
			from, id := a.s, fmt.Sprint("a", k, ".")
			if k%2 == 1 {
				from, id = b.s, fmt.Sprint("b", k, ".")
			}
			jobs.Go(func() {
				err := from.Send(ctx, &msrp.Message{ID: id, ContentType: "text/plain", Body: strings.NewReader(strings.Repeat("x", n)), Size: int64(n)})
				mu.Lock()
				defer mu.Unlock()
				if err == nil && !got[fmt.Sprint(id, n)] {
					t.Errorf("anchor %d: %s of %d octets was acknowledged, but has not come; there came %v", i, id, n, got)
				}
				if err != nil && i%2 == 0 {
					t.Errorf("anchor %d: Send = %v", i, err)
				}
			})
		}
		ends.Go(func() {
			if i%2 == 1 {
				_ = closer()
				jobs.Wait()
			} else {
				jobs.Wait()
				_ = closer()
			}
			for _, done := range []<-chan struct{}{a.s.Done(), b.s.Done(), an.Done()} {
				select {
				case <-done:
				case <-time.After(patience):
					t.Errorf("anchor %d does not end", i)
				}
			}
		})
	}
	ends.Wait()
}

// FuzzAnchor: what goes through an anchor is what a Reader finds in the same bytes, but for paths; whatever a peer writes, nothing panics or hangs.
func FuzzAnchor(f *testing.F) {
	frame := func(tid, method, rest string, flag byte) string {
		return strings.ReplaceAll(spell(tid, method, ourURI, aliceAt, rest, flag), "\n", "\r\n")
	}
	const good = "Message-ID: m1\nByte-Range: 1-2/2\nContent-Type: text/plain\n\nhi\n"
	f.Add([]byte(frame("1test", "SEND", good, '$') + frame("2test", "SEND", strings.Replace(good, "1-2", "1-*", 1), '+') + frame("3test", "200 OK", "", '$')))
	f.Add([]byte("\r\n" + frame("1test", "REPORT", "Message-ID: m1\nByte-Range: 1-2/2\nStatus: 000 200 OK\n", '$') + frame("2test", "FOO", good, '$') + frame("3test", "413 é", "", '$')))
	f.Add([]byte(frame("1test", "SEND", "-------\n"+good, '$') + frame("2test", "SEND", "\n", '$') + frame("3test", "SEND", "X:\n"+good, '#')))
	f.Add([]byte(frame("1test", "SEND", "Message-ID: m1\nContent-Type: text/plain\n\n\n-------1test!\n-------1test$\n\n", '$') + "MSRP 2test SEND\r\nTo-Path: x"))
	f.Fuzz(func(t *testing.T, in []byte) {
		_, alice, bob := anchored(t, msrp.AnchorOptions{A: msrp.LegOptions{Local: uri(t, ourURI)}}, byPipe, byPipe)
		go func() { _, _ = io.Copy(io.Discard, alice.r) }() // ends with the connection
		written := make(chan struct{})
		go func() { // ends with the connection
			_ = alice.nc.SetDeadline(time.Now().Add(patience))
			if _, err := alice.nc.Write(in); err != nil && strings.Contains(err.Error(), "timeout") {
				t.Errorf("the anchor takes no more: %v", err)
			}
			close(written)
		}()
		_ = bob.nc.SetReadDeadline(time.Now().Add(patience))
		got := msrp.NewReader(bob.r)
		r := msrp.NewReader(bytes.NewReader(in))
		for {
			h, err := r.Next()
			if _, wrong := errors.AsType[*msrp.StatusError](err); wrong {
				continue
			}
			if err != nil {
				break
			}
			body, err := io.ReadAll(r.Body())
			if err != nil {
				break
			}
			mine := len(h.ToPath) > 0 && h.ToPath[0].Equal(uri(t, ourURI))
			switch {
			case h.Method == "" && (len(h.ToPath) == 0 || h.ToPath[0].SessionID != uri(t, ourURI).SessionID || !ident(h.TransactionID) || h.Status < 100):
				continue
			case h.Method == msrp.SEND && (!mine || h.ContentType == "" || !h.HasBody):
				continue
			case h.Method != "" && h.Method != msrp.SEND && (h.Method != msrp.REPORT || !mine):
				continue
			}
			g, err := got.Next()
			if err != nil {
				t.Fatalf("bob got %v, want %+v", err, h)
			}
			through, err := io.ReadAll(got.Body())
			if err != nil || g.TransactionID != h.TransactionID || g.Method != h.Method || g.Status != h.Status || g.Comment != h.Comment || g.MessageID != h.MessageID ||
				g.SuccessReport != h.SuccessReport || g.FailureReport != h.FailureReport || g.ReportStatus != h.ReportStatus || got.Flag() != r.Flag() {
				t.Fatalf("bob got %+v, %v, want %+v", g, err, h)
			}
			if h.Method != msrp.SEND {
				continue
			}
			if h.Range.Start == 0 {
				h.Range = msrp.ByteRange{Start: 1, End: -1, Total: -1}
			}
			if len(body) > 2048 {
				h.Range.End = g.Range.End
			}
			if !bytes.Equal(through, body) || g.ContentType != h.ContentType || g.Range != h.Range || !slices.Equal(mime(g.Other), mime(h.Other)) {
				t.Fatalf("bob got %+v, %q, want %+v, %q", g, through, h, body)
			}
		}
		<-written
		_ = alice.nc.Close()
		for { // what has no end was given up
			g, err := got.Next()
			if err != nil && strings.Contains(err.Error(), "timeout") {
				t.Fatal("the other side outlives its sender")
			}
			if err != nil {
				break
			}
			if _, err := io.Copy(io.Discard, got.Body()); err == nil && got.Flag() != '#' {
				t.Fatalf("bob got %+v, which nobody sent", g)
			}
		}
	})
}

// mime puts the headers in the order in which they are written: those of MIME last (RFC 4975 §9).
func mime(in []msrp.Header) []msrp.Header {
	in = slices.Clone(in)
	slices.SortStableFunc(in, func(a, b msrp.Header) int {
		of := func(h msrp.Header) int {
			if strings.HasPrefix(strings.ToLower(h.Name), "content-") {
				return 1
			}
			return 0
		}
		return of(a) - of(b)
	})
	return in
}

// ident checks RFC 4975 §9: ident = ALPHANUM 3*31ident-char.
func ident(s string) bool {
	return len(s) >= 4 && len(s) <= 32 && !strings.ContainsRune(".-+%=", rune(s[0])) &&
		strings.Trim(s, ".-+%=ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789") == ""
}
