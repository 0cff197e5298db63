package httpapi

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"latchkey"
)

func contextOf(t *testing.T) (context.Context, context.CancelFunc) {
	return context.WithTimeout(t.Context(), patience)
}

type pollBody struct {
	Events []latchkey.Event
	Last   int64
}

// texts are the messages' texts; other events don't count.
func texts(events []latchkey.Event) (all []string) {
	for _, e := range events {
		if e.Type == latchkey.MessageEvent {
			all = append(all, e.Message.Text)
		}
	}
	return all
}

// sseClient reads a stream on its own; it knows no more than WHATWG HTML §9.2.
type sseClient struct {
	t    *testing.T
	body io.ReadCloser
	r    *bufio.Reader
	stop context.CancelFunc
}

func openSSE(t *testing.T, c *http.Client, url string, changes ...change) *sseClient {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	r := request(ctx, "GET", url, "", append([]change{asGuest, header("Accept", "text/event-stream")}, changes...)...)
	r.RequestURI = ""
	res, err := c.Do(r)
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	s := &sseClient{t, res.Body, bufio.NewReader(res.Body), cancel}
	t.Cleanup(s.close)
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != "text/event-stream" {
		body, _ := io.ReadAll(res.Body)
		t.Fatalf("stream: %d %v %s", res.StatusCode, res.Header, body)
	}
	return s
}

// drain reads until the stream ends.
func (s *sseClient) drain() { _, _ = io.Copy(io.Discard, s.body) }

func (s *sseClient) close() {
	s.stop()
	_ = s.body.Close()
}

// block is one event's lines, or a comment.
func (s *sseClient) block() (lines []string, err error) {
	for {
		line, err := s.r.ReadString('\n')
		if err != nil {
			return lines, err
		}
		if line = strings.TrimSuffix(line, "\n"); line == "" {
			return lines, nil
		}
		lines = append(lines, line)
	}
}

// next is the next event with its id line; status events of the fakes and comments are passed over.
func (s *sseClient) next() (latchkey.Event, string) {
	s.t.Helper()
	for {
		lines, err := s.block()
		if err != nil {
			s.t.Fatalf("the stream ended: %v", err)
		}
		var e latchkey.Event
		id := ""
		for _, line := range lines {
			if data, ok := strings.CutPrefix(line, "data: "); ok {
				if err := json.Unmarshal([]byte(data), &e); err != nil {
					s.t.Fatal(err)
				}
			} else if strings.HasPrefix(line, "id: ") {
				id = strings.TrimPrefix(line, "id: ")
			} else if !strings.HasPrefix(line, ":") {
				s.t.Fatalf("line %q", line)
			}
		}
		if e.Type != "" && e.Type != latchkey.StatusEvent {
			return e, id
		}
	}
}

// F30, R27: an event that comes while the guest listens is told at once, by all three ways.
func TestEventIsToldAtOnceByEveryWay(t *testing.T) {
	w := newWorld(t, Options{})
	s := w.serve()
	ctx, cancel := contextOf(t)
	defer cancel()
	stream := openSSE(t, s.Client(), s.URL+eventsPath)
	conn, _, err := websocket.Dial(ctx, s.URL+eventsPath, &websocket.DialOptions{HTTPHeader: basicHeader()})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	eventually(t, func() bool { return len(w.hall.all()) == 1 }) // Alice's first state
	polled := make(chan response, 1)
	go func() { polled <- w.do("GET", eventsPath+"?after=1&wait=30", "", asGuest) }() // ends with the event
	eventually(t, func() bool { return w.openRequests() == 3 })
	start := time.Now()
	w.hall.say("hi\nthere")
	e, id := stream.next()
	if e.Message.Text != "hi\nthere" || e.ID != 2 || id != "2" || e.From != aliceURI {
		t.Errorf("SSE: %+v with id %q", e, id)
	}
	for e = (latchkey.Event{}); e.Type != latchkey.MessageEvent; {
		_, data, err := conn.Read(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(data, &e); err != nil {
			t.Fatalf("WebSocket: %s: %v", data, err)
		}
	}
	if e.ID != 2 || e.Message.Text != "hi\nthere" {
		t.Errorf("WebSocket: %+v", e)
	}
	var page pollBody
	(<-polled).wants(200).into(&page)
	if len(page.Events) != 1 || page.Last != 2 || page.Events[0].Message.Text != "hi\nthere" {
		t.Errorf("poll: %+v", page)
	}
	if took := time.Since(start); took > 9*time.Second { // the shortest timers have 10 s
		t.Errorf("it took %v: somebody waits for a timer", took)
	}
}

func basicHeader() http.Header {
	r := &http.Request{Header: http.Header{}}
	r.SetBasicAuth(account, password)
	return r.Header
}

func (w *world) openRequests() int {
	w.api.attendance.mu.Lock()
	defer w.api.attendance.mu.Unlock()
	n := 0
	for _, g := range w.api.attendance.here {
		n += g.open
	}
	return n
}

// F30, X4: a client that comes back gets what it missed, in order, nothing twice; and coming back acknowledges.
func TestLastEventIDResumesWithoutLossOrDoubling(t *testing.T) {
	w := newWorld(t, Options{})
	s := w.serve()
	const n = 3*eventBatch + 7
	for i := range n {
		w.hall.say(fmt.Sprint(i))
		if i == eventBatch {
			w.hall.post(latchkey.Event{Type: latchkey.ComposingEvent, From: aliceURI, State: "active"})
		}
	}
	var got []string
	last := ""
	for len(got) < n {
		stream := openSSE(t, s.Client(), s.URL+eventsPath+"?after=1", header("Last-Event-ID", last)) // the header is the newer word
		if last == "" {
			got = []string{"0"}
		}
		for range 61 {
			e, id := stream.next()
			last = id
			if e.Type == latchkey.MessageEvent {
				got = append(got, e.Message.Text)
			}
			if len(got) == n {
				break
			}
		}
		stream.close()
	}
	for i, text := range got {
		if text != fmt.Sprint(i) {
			t.Fatalf("event %d is %q", i, text)
		}
	}
	// By poll the same, a batch at a time.
	got = nil
	for after := int64(0); len(got) < n; {
		var page pollBody
		w.do("GET", fmt.Sprintf("%s?after=%d&wait=0", eventsPath, after), "", asGuest).wants(200).into(&page)
		got = append(got, texts(page.Events)...)
		if page.Last <= after {
			t.Fatalf("the poll after %d ends at %d", after, page.Last)
		}
		after = page.Last
	}
	if got[n-1] != fmt.Sprint(n-1) || len(got) != n {
		t.Errorf("%d messages by poll", len(got))
	}
}

// F30, X4: reading after n acknowledges up to n; being sent an event does not.
func TestReadingAfterAnEventAcknowledgesIt(t *testing.T) {
	w := newWorld(t, Options{})
	s := w.serve()
	for range 9 {
		w.hall.say("x")
	}
	stream := openSSE(t, s.Client(), s.URL+eventsPath)
	for range 5 {
		stream.next()
	}
	if n := w.hall.ackedTo(); n != 0 {
		t.Fatalf("sending acknowledges %d", n)
	}
	w.do("GET", eventsPath+"?after=3&wait=0", "", asGuest).wants(200)
	if n := w.hall.ackedTo(); n != 3 {
		t.Errorf("acknowledged %d, want 3", n)
	}
	openSSE(t, s.Client(), s.URL+eventsPath, header("Last-Event-ID", "5"))
	if n := w.hall.ackedTo(); n != 5 {
		t.Errorf("a reconnect acknowledges %d, want 5", n)
	}
	ctx, cancel := contextOf(t)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, s.URL+eventsPath+"?after=6", &websocket.DialOptions{HTTPHeader: basicHeader()})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	if n := w.hall.ackedTo(); n != 6 {
		t.Errorf("a WebSocket acknowledges %d, want 6", n)
	}
	if err := conn.Write(ctx, websocket.MessageText, []byte(`{"ack":8}`)); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { return w.hall.ackedTo() == 8 })
	for _, path := range []string{"?after=x", "?after=-1", "?wait=x", "?wait=-1", "?wait=NaN", "?after=99999999999999999999"} {
		w.do("GET", eventsPath+path, "", asGuest).problem(latchkey.KindBadRequest)
	}
	w.do("GET", eventsPath, "", asGuest, header("Last-Event-ID", "x")).problem(latchkey.KindBadRequest)
}

// F25: two devices read one stream; each gets each message once, whatever the other has read and acknowledged.
func TestTwoDevicesGetEachMessageOnce(t *testing.T) {
	w := newWorld(t, Options{})
	s := w.serve()
	phone, laptop := w.login(), w.login()
	if phone.Value == laptop.Value {
		t.Error("both logins have one token")
	}
	first := openSSE(t, s.Client(), s.URL+eventsPath, header("Authorization", ""), page(phone), pageHost(s.URL))
	w.hall.say("one")
	e, id := first.next()
	w.do("GET", eventsPath+"?wait=0&after="+id, "", page(phone)).wants(200)
	second := openSSE(t, s.Client(), s.URL+eventsPath, header("Authorization", ""), page(laptop), pageHost(s.URL))
	if other, _ := second.next(); e.Message.Text != "one" || other.Message.Text != "one" {
		t.Errorf("the devices got %+v and %+v", e, other)
	}
	w.hall.say("two")
	for _, device := range []*sseClient{first, second} {
		if e, _ := device.next(); e.Message.Text != "two" {
			t.Errorf("a device got %+v, want two", e)
		}
	}
}

// pageHost makes the page's origin that of a real server.
func pageHost(url string) change { return header("Origin", url) }

func TestLongPollWaitsAsLongAsItWasAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{})
		defer w.api.Close()
		w.hall.post(latchkey.Event{Type: latchkey.ComposingEvent, From: aliceURI, State: "active"})
		for query, want := range map[string]time.Duration{"?after=7&wait=0": 0, "?after=7&wait=2.5": 2500 * time.Millisecond, "?after=7": 30 * time.Second, "?after=7&wait=100000": 60 * time.Second, "?wait=9": 0} {
			start := time.Now()
			var page pollBody
			w.do("GET", eventsPath+query, "", asGuest).wants(200).into(&page)
			if took := time.Since(start); took != want {
				t.Errorf("%s took %v, want %v", query, took, want)
			}
			if after := strings.HasPrefix(query, "?after=7"); after && (page.Last != 7 || page.Events == nil || len(page.Events) != 0) {
				t.Errorf("%s: %+v", query, page)
			}
		}
		done := make(chan response, 1)
		go func() {
			done <- w.do("GET", eventsPath+"?after=2&wait=30", "", asGuest, header("Accept", "application/xml"))
		}() // ends with the message
		time.Sleep(time.Second)
		w.hall.say("hi")
		synctest.Wait()
		start := time.Now()
		if r := <-done; !strings.Contains(r.body, "<event><id>3</id>") || !strings.Contains(r.body, "<last>3</last>") || time.Since(start) > 0 {
			t.Errorf("XML poll: %s", r.body)
		}
	})
}

// A stream without events has a comment every Options.KeepAlive, and one at once.
func TestIdleStreamHasComments(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{})
		defer w.api.Close()
		w.board.turn(aliceURI, latchkey.StatusOnline)
		client, _ := w.pipe()
		start := time.Now()
		s := openSSE(t, client, "http://gw"+eventsPath)
		comments := 0
		for comments < 4 {
			lines, err := s.block()
			if err != nil {
				t.Fatal(err)
			}
			if len(lines) == 1 && strings.HasPrefix(lines[0], ":") {
				if at := time.Since(start); at != time.Duration(comments)*15*time.Second {
					t.Errorf("comment %d comes after %v", comments, at)
				}
				comments++
			}
		}
		s.close()
		synctest.Wait()
		if n := w.hall.here(); n != 0 {
			t.Errorf("the guest who left is here %d times", n)
		}
	})
}

// An idle WebSocket is pinged every Options.KeepAlive, and one that gives no sign of life is cut.
func TestIdleWebSocketIsPinged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{})
		defer w.api.Close()
		w.hall.post(latchkey.Event{Type: latchkey.ComposingEvent, From: aliceURI, State: "active"})
		client, _ := w.pipe()
		start, pings := time.Now(), make(chan time.Duration, 9)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		conn, _, err := websocket.Dial(ctx, "ws://gw"+eventsPath+"?after=1", &websocket.DialOptions{HTTPClient: client, HTTPHeader: basicHeader(),
			OnPingReceived: func(context.Context, []byte) bool {
				pings <- time.Since(start)
				return time.Since(start) < 50*time.Second
			}})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.CloseNow()
		if _, data, err := conn.Read(ctx); err != nil || !strings.Contains(string(data), "online") {
			t.Fatalf("first event %s, %v", data, err)
		}
		var reading sync.WaitGroup
		reading.Go(func() { _, _, _ = conn.Read(ctx) }) // ends with the connection
		for want := 15 * time.Second; want <= time.Minute; want += 15 * time.Second {
			if got := <-pings; got != want {
				t.Errorf("ping after %v, want %v", got, want)
			}
		}
		time.Sleep(9 * time.Second)
		synctest.Wait()
		if w.openRequests() != 1 {
			t.Error("cut before Options.WriteTimeout")
		}
		time.Sleep(11 * time.Second) // its last word has its own time
		reading.Wait()
		synctest.Wait()
		if n := w.openRequests(); n != 0 {
			t.Errorf("%d streams are open", n)
		}
	})
}

// F67: a client that doesn't read holds its place for Options.WriteTimeout, no longer.
func TestSlowStreamsAreCut(t *testing.T) {
	for _, upgrade := range []string{"", "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, Options{})
			defer w.api.Close()
			_, dial := w.pipe()
			conn := dial()
			defer conn.Close()
			auth := basicHeader().Get("Authorization")
			if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: gw\r\nAuthorization: %s\r\nAccept: text/event-stream\r\n%s\r\n", eventsPath, auth, upgrade); err != nil {
				t.Fatal(err)
			}
			// It reads for a while, and then no more: a pipe holds no byte.
			_ = conn.SetReadDeadline(time.Now().Add(time.Second))
			if _, err := io.Copy(io.Discard, conn); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatal(err)
			}
			time.Sleep(4 * time.Second)
			w.hall.say(strings.Repeat("x", 100_000))
			time.Sleep(10*time.Second - time.Millisecond)
			synctest.Wait()
			if w.openRequests() != 1 {
				t.Error("cut too early")
			}
			time.Sleep(11 * time.Second) // a WebSocket's last word has its own time
			synctest.Wait()
			if n := w.openRequests(); n != 0 || w.hall.here() != 0 {
				t.Errorf("%d streams are open", n)
			}
			if log := w.log.String(); strings.Contains(log, "level=ERROR") || strings.Contains(log, "level=WARN") {
				t.Errorf("log: %s", log)
			}
		})
	}
}

// S4: one guest can't hold any number of streams; acknowledging still works.
func TestStreamsOfOneGuestAreLimited(t *testing.T) {
	w := newWorld(t, Options{MaxStreams: 2})
	s := w.serve()
	first := openSSE(t, s.Client(), s.URL+eventsPath)
	openSSE(t, s.Client(), s.URL+eventsPath)
	for _, c := range []change{header("Accept", "text/event-stream"), header("Accept", "application/json")} {
		r := w.do("GET", eventsPath+"?after=9", "", asGuest, c, header("Accept", "application/json"))
		r.problem(latchkey.KindTooManyRequests)
		if r.header.Get("Retry-After") != "5" {
			t.Errorf("Retry-After %q", r.header.Get("Retry-After"))
		}
	}
	w.do("GET", eventsPath+"?after=1&wait=0", "", asGuest).wants(200)
	first.close()
	eventually(t, func() bool {
		return w.do("GET", eventsPath+"?after=9&wait=0.001", "", asGuest).status == 200
	})
}

// R29, F57: when the last relation ends, streams that were open hear so and end; they have no right to more.
func TestStreamsEndWithTheLastRelation(t *testing.T) {
	w := newWorld(t, Options{})
	w.desk.relations = append(w.desk.relations, relation(carolURI, "Carol"))
	s := w.serve()
	ctx, cancel := contextOf(t)
	defer cancel()
	stream := openSSE(t, s.Client(), s.URL+eventsPath)
	conn, _, err := websocket.Dial(ctx, s.URL+eventsPath, &websocket.DialOptions{HTTPHeader: basicHeader()})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	eventually(t, func() bool { return len(w.hall.all()) == 2 }) // the first states of both
	w.desk.remove(aliceURI)
	if e, _ := stream.next(); e.Type != latchkey.InviterEvent || e.URI != aliceURI || e.State != "removed" {
		t.Errorf("event %+v", e)
	}
	w.hall.say("still here")
	if e, _ := stream.next(); e.Type != latchkey.MessageEvent {
		t.Errorf("with Carol the stream goes on, but: %+v", e)
	}
	after := int64(len(w.hall.all()))
	polled := make(chan response, 1)
	go func() { polled <- w.do("GET", fmt.Sprintf("%s?after=%d&wait=30", eventsPath, after), "", asGuest) }() // ends with the logout
	eventually(t, func() bool { return w.openRequests() == 3 })
	w.do("DELETE", sessionPath, "", asGuest).wants(204)
	if e, _ := stream.next(); e.Type != latchkey.InviterEvent || e.URI != carolURI {
		t.Errorf("event %+v", e)
	}
	e, id := stream.next()
	if e.Type != latchkey.SessionEvent || e.State != "ended" || e.Reason != string(latchkey.GuestLeft) || id != "" || e.ID != 0 {
		t.Errorf("last event %+v with id %q", e, id)
	}
	if _, err := stream.block(); !errors.Is(err, io.EOF) {
		t.Errorf("after the last event: %v", err)
	}
	for e = (latchkey.Event{}); e.Type != latchkey.SessionEvent; {
		_, data, err := conn.Read(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(data, &e); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := conn.Read(ctx); websocket.CloseStatus(err) != websocket.StatusNormalClosure {
		t.Errorf("the WebSocket ends with %v", err)
	}
	var page pollBody
	(<-polled).wants(200).into(&page)
	if n := len(page.Events); n != 2 || page.Events[1].Type != latchkey.SessionEvent || page.Last != after+1 {
		t.Errorf("poll: %+v", page)
	}
	w.do("GET", eventsPath, "", asGuest).wants(401)
}

// R29, R30, F57: while relations are ending and the stream does not say so of each yet, it goes on, whatever it is woken for.
func TestStreamIsToldOfEachEndBeforeItsOwn(t *testing.T) {
	w := newWorld(t, Options{})
	w.desk.relations = append(w.desk.relations, relation(carolURI, "Carol"))
	s := w.serve()
	stream := openSSE(t, s.Client(), s.URL+eventsPath)
	eventually(t, func() bool { return len(w.hall.all()) == 2 }) // the first states of both
	after := len(w.hall.all())
	polled := make(chan response, 1)
	go func() { polled <- w.do("GET", fmt.Sprintf("%s?after=%d&wait=30", eventsPath, after), "", asGuest) }() // ends with the relations
	eventually(t, func() bool { return w.openRequests() == 2 })
	ended := w.desk.beginEnding()
	asked := func(n int) {
		t.Helper()
		eventually(t, func() bool {
			w.hall.stir()
			w.desk.mu.Lock()
			defer w.desk.mu.Unlock()
			return w.desk.overs >= n
		})
	}
	asked(4) // by both of them
	for i, uri := range []string{aliceURI, carolURI} {
		w.desk.tell(ended[i])
		if e, _ := stream.next(); e.Type != latchkey.InviterEvent || e.URI != uri || e.State != "removed" {
			t.Errorf("event %+v", e)
		}
	}
	if e, _ := stream.next(); e.Type != latchkey.SessionEvent || e.State != "ended" || e.Reason != string(latchkey.GuestLeft) {
		t.Errorf("last event %+v", e)
	}
	var page pollBody
	(<-polled).wants(200).into(&page)
	if len(page.Events) == 0 || page.Events[0].URI != aliceURI {
		t.Errorf("poll: %+v", page)
	}
}

// The end is seen also where it is the last of a full batch.
func TestStreamEndsAfterAFullBatch(t *testing.T) {
	w := newWorld(t, Options{KeepAlive: 10 * time.Millisecond})
	s := w.serve()
	first := openSSE(t, s.Client(), s.URL+eventsPath)
	eventually(t, func() bool { return len(w.hall.all()) == 1 }) // Alice's state, told once
	first.close()
	eventually(t, func() bool { return w.openRequests() == 0 })
	w.hall.events = nil
	for range eventBatch - 1 {
		w.hall.say("x")
	}
	w.hall.gate = make(chan struct{})
	stream := openSSE(t, s.Client(), s.URL+eventsPath)
	w.desk.remove(aliceURI)
	close(w.hall.gate)
	var err error
	for blocks := 0; err == nil; blocks++ {
		if _, err = stream.block(); blocks > 3*eventBatch {
			t.Fatal("the stream goes on")
		}
	}
	if n := len(w.hall.all()); !errors.Is(err, io.EOF) || n != eventBatch {
		t.Errorf("the stream ends with %v after %d events", err, n)
	}
}

// X6: a gateway that stops tells streams to reconnect, and takes no new ones. Nothing is logged as a fault.
func TestDrainEndsStreams(t *testing.T) {
	for _, how := range []string{"drain", "hall"} {
		t.Run(how, func(t *testing.T) {
			w := newWorld(t, Options{})
			s := w.serve()
			ctx, cancel := contextOf(t)
			defer cancel()
			stream := openSSE(t, s.Client(), s.URL+eventsPath)
			conn, _, err := websocket.Dial(ctx, s.URL+eventsPath, &websocket.DialOptions{HTTPHeader: basicHeader()})
			if err != nil {
				t.Fatal(err)
			}
			defer conn.CloseNow()
			polled := make(chan response, 1)
			go func() { polled <- w.do("GET", eventsPath+"?after=100&wait=30", "", asGuest) }() // ends with Drain
			eventually(t, func() bool { return w.openRequests() == 3 })
			if how == "drain" {
				w.api.Drain()
				w.api.Drain()
			} else { // the hall is shut down first
				w.hall.close()
			}
			for err == nil {
				_, err = stream.block()
			}
			if !errors.Is(err, io.EOF) {
				t.Errorf("the stream ends with %v", err)
			}
			for err = nil; err == nil; {
				_, _, err = conn.Read(ctx)
			}
			if websocket.CloseStatus(err) != websocket.StatusServiceRestart {
				t.Errorf("the WebSocket ends with %v", err)
			}
			if r := (<-polled).wants(200); r.body != `{"events":[],"last":100}` {
				t.Errorf("the poll ends with %s", r.body)
			}
			if how == "drain" {
				w.do("GET", eventsPath, "", asGuest, header("Accept", "text/event-stream, application/json;q=0.1")).wants(503)
				w.do("GET", statusPath+aliceURI, "", asGuest).wants(200)
			}
			if err := w.api.Close(); err != nil || w.hall.here() != 0 || w.board.watches(aliceURI) != 0 {
				t.Errorf("Close = %v; here %d, watches %d", err, w.hall.here(), w.board.watches(aliceURI))
			}
			if err := w.api.Close(); err != nil {
				t.Errorf("second Close = %v", err)
			}
			if log := w.log.String(); strings.Contains(log, "level=ERROR") || strings.Contains(log, "level=WARN") && how == "hall" {
				t.Errorf("log: %s", log)
			}
		})
	}
}

func TestEventsThatCannotBeReadAreAProblem(t *testing.T) {
	w := newWorld(t, Options{})
	s := w.serve()
	stream := openSSE(t, s.Client(), s.URL+eventsPath)
	ctx, cancel := contextOf(t)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, s.URL+eventsPath, &websocket.DialOptions{HTTPHeader: basicHeader()})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	w.hall.mu.Lock()
	w.hall.failure = errors.New("disk is gone")
	w.hall.mu.Unlock()
	w.do("GET", eventsPath+"?wait=0", "", asGuest).problem(latchkey.KindInternal)
	w.hall.say("x")
	for err == nil {
		_, err = stream.block()
	}
	for err = nil; err == nil; {
		_, _, err = conn.Read(ctx)
	}
	if websocket.CloseStatus(err) != websocket.StatusInternalError {
		t.Errorf("the WebSocket ends with %v", err)
	}
	eventually(t, func() bool { return strings.Count(w.log.String(), "disk is gone") >= 3 })
}

// RFC 6455: a handshake that is wrong is a problem, and what is no acknowledgement ends the connection.
func TestWebSocketIsHeldToItsRules(t *testing.T) {
	w := newWorld(t, Options{})
	s := w.serve()
	handshake := []change{asGuest, header("Connection", "keep-alive, Upgrade"), header("Upgrade", "websocket"), header("Sec-WebSocket-Version", "13"), header("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA==")}
	for _, wrong := range []change{header("Sec-WebSocket-Version", "8"), header("Sec-WebSocket-Key", ""), header("Sec-WebSocket-Key", "AAAA")} {
		w.do("GET", eventsPath, "", append(slices.Clone(handshake), wrong)...).problem(latchkey.KindBadRequest)
	}
	w.do("GET", eventsPath, "", handshake[1:]...).wants(401)
	w.do("GET", eventsPath, "", append(handshake[1:], page(w.login()), header("Origin", "http://evil.example"))...).problem(latchkey.KindNotAllowed)
	ctx, cancel := contextOf(t)
	defer cancel()
	for _, text := range []string{`{"ack":-1}`, `{}`, `x`, strings.Repeat(" ", 2000)} {
		conn, _, err := websocket.Dial(ctx, s.URL+eventsPath, &websocket.DialOptions{HTTPHeader: basicHeader()})
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.Write(ctx, websocket.MessageText, []byte(text)); err != nil {
			t.Fatal(err)
		}
		for err == nil {
			_, _, err = conn.Read(ctx)
		}
		want := websocket.StatusPolicyViolation
		if len(text) > 1024 {
			want = websocket.StatusMessageTooBig
		}
		if websocket.CloseStatus(err) != want {
			t.Errorf("%.20q: %v, want %v", text, err, want)
		}
		_ = conn.CloseNow()
	}
	eventually(t, func() bool { return w.openRequests() == 0 })
	if log := w.log.String(); strings.Contains(log, "level=ERROR") {
		t.Errorf("log: %s", log)
	}
}
