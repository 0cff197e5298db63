package files_test

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"latchkey"
	"latchkey/files"
	"latchkey/internal/stranger"
)

var loopback = stranger.Peers{netip.MustParsePrefix("127.0.0.0/8")}

// promised is Alice's file on a server of her network.
func (c *cellar) promised(address string, size int) latchkey.StoredFile {
	f := c.file(latchkey.ToGuest, size)
	f.RemoteID, f.Source = latchkey.NewToken(), latchkey.Secret(address)
	return f
}

// told waits for what becomes of the nth file.
func (c *cellar) waitTold(n int) latchkey.StoredFile {
	c.t.Helper()
	deadline := time.Now().Add(time.Minute)
	for time.Now().Before(deadline) {
		if all := c.arrived(); len(all) >= n {
			return all[n-1]
		}
		time.Sleep(5 * time.Millisecond)
	}
	c.t.Fatalf("nothing is told; %d files before", len(c.arrived()))
	return latchkey.StoredFile{}
}

// X3, F54: an inviter's file is fetched, goes on by Range where the connection broke, and is told once, with its picture.
func TestPromisedFileIsFetchedAndGoesOnAfterACut(t *testing.T) {
	c := open(t, files.Options{Peers: loopback})
	body := noise(300_000)
	picture := append([]byte("\xff\xd8\xff"), "small"...)
	var asked atomic.Int32
	var ranges atomic.Value
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/moved":
			http.Redirect(w, r, "/file?key=1", http.StatusFound)
		case "/picture":
			w.Header().Set("Content-Type", "image/jpeg")
			_, _ = w.Write(picture)
		case "/file":
			if r.Header.Get("Referer") != "" || r.Header.Get("Authorization") != "" || r.URL.RawQuery != "key=1" {
				t.Errorf("asked for %s with %v", r.URL, r.Header)
			}
			w.Header().Set("ETag", `"v1"`)
			if asked.Add(1) == 1 {
				w.Header().Set("Content-Length", fmt.Sprint(len(body)))
				_, _ = w.Write(body[:100_000])
				panic(http.ErrAbortHandler)
			}
			ranges.Store(r.Header.Get("Range") + " " + r.Header.Get("If-Range"))
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
		}
	}))
	defer s.Close()
	f := c.promised(s.URL+"/moved", len(body))
	for range 2 { // the inviter's phone repeats itself
		if err := c.Promise(t.Context(), f, s.URL+"/picture"); err != nil {
			t.Fatal(err)
		}
	}
	got := c.waitTold(1)
	if got.State != latchkey.FileAccepted || !bytes.Equal(c.content(got), body) || got.Preview != "image/jpeg" || got.Source != "" {
		t.Errorf("%+v", got)
	}
	if kind, p, err := c.Preview(t.Context(), got); err != nil || kind != "image/jpeg" || !bytes.Equal(p, picture) {
		t.Errorf("Preview = %s %q, %v", kind, p, err)
	}
	var from int
	if _, err := fmt.Sscanf(fmt.Sprint(ranges.Load()), `bytes=%d- "v1"`, &from); err != nil || from == 0 || from > 100_000 || asked.Load() != 2 {
		t.Errorf("asked %d times, the last time with %q", asked.Load(), ranges.Load())
	}
	events, err := c.db.Events(t.Context(), bob, 0, 10)
	if err != nil || len(events) != 1 || !events[0].File.Preview {
		t.Errorf("events %+v, %v", events, err)
	}
}

// F54, S13: addresses that lead where nobody may go are not followed, on the way there or by a redirect; the guest learns that the
// file can't be had, and nothing stays.
func TestForbiddenAddressIsNeverAsked(t *testing.T) {
	var asked atomic.Int32
	inside := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		_, _ = w.Write([]byte("secret"))
	}))
	l, err := net.Listen("tcp", "127.0.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = inside.Listener.Close()
	inside.Listener = l
	inside.Start()
	defer inside.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	var target atomic.Value
	outside := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		to, _ := target.Load().(string)
		if r.URL.Path == "/loop" {
			to = "/loop"
		}
		w.Header().Set("Location", to)
		w.WriteHeader(http.StatusTemporaryRedirect)
	}))
	defer outside.Close()
	c := open(t, files.Options{Peers: stranger.Peers{netip.MustParsePrefix("127.0.0.1/32")}})
	forbidden := []string{
		"http://169.254.169.254/latest/meta-data/", "http://127.0.0.2:" + port + "/", "http://[::ffff:127.0.0.2]:" + port + "/", "http://0.0.0.0:" + port + "/",
		"http://10.0.0.1/", "http://[::1]:" + port + "/", "http://[fe80::1]/", "http://user:secret@127.0.0.1:" + port + "/", "ftp://127.0.0.1/", "file:///etc/passwd", "gopher://127.0.0.1/", "http:///x", "://",
	}
	n := 0
	for _, address := range forbidden {
		for _, redirected := range []bool{false, true} {
			first := address
			if redirected && address == "://" {
				continue // a broken redirect is a server's mishap, and is tried again
			}
			if redirected {
				target.Store(address)
				first = outside.URL
			}
			if err := c.Promise(t.Context(), c.promised(first, 6), ""); err != nil {
				t.Fatal(err)
			}
			n++
			f := c.waitTold(n)
			if f.State != latchkey.FileFailed || f.Reason != "Its address is not allowed." {
				t.Errorf("%s, redirected %v: %s %q", address, redirected, f.State, f.Reason)
			}
		}
	}
	if err := c.Promise(t.Context(), c.promised(outside.URL+"/loop", 6), ""); err != nil {
		t.Fatal(err)
	}
	if f := c.waitTold(n + 1); f.State != latchkey.FileFailed {
		t.Errorf("redirects without an end: %+v", f)
	}
	if asked.Load() != 0 || c.onDisk() != 0 {
		t.Errorf("%d requests came inside, %d files on the disk", asked.Load(), c.onDisk())
	}
	events, err := c.db.Events(t.Context(), bob, 0, 1)
	if err != nil || len(events) != 1 || events[0].File.State != latchkey.FileFailed {
		t.Errorf("events %+v, %v", events, err)
	}
}

// A server may not give other than what was promised, nor more than fits; what is gone is gone.
func TestFetchedFileIsWhatWasPromised(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/gone":
			w.WriteHeader(http.StatusGone)
		case "/packed":
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write([]byte("123456"))
		case "/endless": // no length, and no end
			for {
				if _, err := w.Write(make([]byte, 4<<10)); err != nil {
					return
				}
			}
		case "/wrong-range":
			w.Header().Set("Content-Range", "bytes 3-5/6")
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write([]byte("456"))
		case "/exact":
			_, _ = w.Write([]byte("123456"))
		default:
			_, _ = w.Write([]byte(strings.Repeat("x", 7)))
		}
	}))
	defer s.Close()
	c := open(t, files.Options{Peers: loopback, MaxSize: 1 << 20})
	for i, q := range []struct {
		path, reason string
		size         int
	}{
		{"/gone", "It is no longer there.", 6}, {"/packed", "It could not be fetched.", 6}, {"/more", "It is not what was promised.", 6}, {"/less", "It is not what was promised.", 8},
		{"/endless", "It is not what was promised.", 6}, {"/endless", "It is too large.", latchkey.UnknownSize}, {"/wrong-range", "It could not be fetched.", 6}, {"/exact", "", 6},
	} {
		if err := c.Promise(t.Context(), c.promised(s.URL+q.path, q.size), s.URL+"/gone"); err != nil {
			t.Fatal(err)
		}
		if f := c.waitTold(i + 1); f.Reason != q.reason || (f.State == latchkey.FileFailed) != (q.reason != "") {
			t.Errorf("%s: %s %q, want %q", q.path, f.State, f.Reason, q.reason)
		}
	}
	if n := c.onDisk(); n != 1 {
		t.Errorf("%d files on the disk", n)
	}
	if err := c.Promise(t.Context(), c.promised(s.URL+"/exact", 2<<20), ""); !latchkey.Is(err, latchkey.KindTooLarge) {
		t.Errorf("Promise of too large a file = %v", err)
	}
}

// What was promised is fetched after a restart, and not after the relation's end.
func TestPromiseOutlivesARestart(t *testing.T) {
	hold, come := make(chan struct{}), make(chan struct{}, 8)
	var open1 atomic.Bool
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !open1.Load() {
			come <- struct{}{}
			select {
			case <-hold:
			case <-r.Context().Done():
			}
			return
		}
		_, _ = w.Write([]byte("123456"))
	}))
	defer s.Close()
	defer close(hold)
	c := open(t, files.Options{Peers: loopback})
	if err := c.Promise(t.Context(), c.promised(s.URL, 6), ""); err != nil {
		t.Fatal(err)
	}
	<-come
	if err := c.Close(); err != nil || len(c.arrived()) != 0 {
		t.Fatalf("Close = %v, told %v", err, c.arrived())
	}
	open1.Store(true)
	c.reopen(files.Options{Peers: loopback})
	defer c.run()()
	if f := c.waitTold(1); f.State != latchkey.FileAccepted || string(c.content(f)) != "123456" {
		t.Errorf("after the restart: %+v", f)
	}
	open1.Store(false)
	if err := c.Promise(t.Context(), c.promised(s.URL, 6), ""); err != nil {
		t.Fatal(err)
	}
	<-come
	if err := c.Farewell(t.Context(), c.rel.ID); err != nil || c.onDisk() != 0 {
		t.Errorf("Farewell = %v, %d files on the disk", err, c.onDisk())
	}
	if err := c.Close(); err != nil || len(c.arrived()) != 1 {
		t.Errorf("Close = %v, told %v", err, c.arrived())
	}
}

// Issue 8, line 6: a server that takes requests and gives no bytes keeps nobody's file from another server waiting, whoever names it and however often.
func TestServerThatHangsHoldsUpNoOtherFiles(t *testing.T) {
	come := make(chan struct{}, 100)
	hung := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		come <- struct{}{}
		<-r.Context().Done()
	}))
	defer hung.Close()
	quick := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("123456")) }))
	l, err := net.Listen("tcp", "127.0.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = quick.Listener.Close()
	quick.Listener = l
	quick.Start()
	defer quick.Close()
	c := open(t, files.Options{Peers: loopback})
	for i := range 50 {
		rel := c.relate(latchkey.InviterID(fmt.Sprintf("sip:u%d@cc.com", i)))
		f := c.promised(hung.URL, 6)
		f.Relation, f.Inviter = rel.ID, rel.Inviter
		if err := c.Promise(t.Context(), f, ""); err != nil {
			t.Fatal(err)
		}
	}
	for range 8 {
		<-come
	}
	for i := range 20 {
		if err := c.Promise(t.Context(), c.promised(quick.URL, 6), ""); err != nil {
			t.Fatal(err)
		}
		if f := c.waitTold(i + 1); f.State != latchkey.FileAccepted || string(c.content(f)) != "123456" {
			t.Fatalf("%+v", f)
		}
	}
	if n := len(come); n != 0 {
		t.Errorf("%d fetches are with the server that hangs, want 8", 8+n)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}
