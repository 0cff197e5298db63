package gateway_test

import (
	"bufio"
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"latchkey/gateway/gatewaytest"
	"latchkey/guestclient"
	"latchkey/imstest"
)

// held is a guest's upload with a declared hash, which the test feeds as it likes.
type held struct {
	t    *testing.T
	body *io.PipeWriter
	done chan *http.Response // closed without one where the request broke
	text string              // of the answer
}

// begin uploads a file for Alice of which sum is declared.
func begin(t *testing.T, b *gatewaytest.Guest, kind string, size int, sum [20]byte) *held {
	t.Helper()
	r, body := io.Pipe()
	req := b.UploadRequest(gatewaytest.Alice, "film.bin", kind, r)
	gatewaytest.Declare(req, int64(size), sum)
	h := &held{t: t, body: body, done: make(chan *http.Response, 1)}
	go func() { // ends with the request
		defer close(h.done)
		if res, err := http.DefaultClient.Do(req); err == nil {
			text, _ := io.ReadAll(res.Body)
			_ = res.Body.Close()
			h.text = string(text)
			h.done <- res
		}
	}()
	return h
}

// halfway is a world in which a guest has uploaded the half of film for Alice.
func halfway(t *testing.T, plan gatewaytest.Plan, manner imstest.Manner) (w *gatewaytest.World, a *imstest.Phone, b *gatewaytest.Guest, up *held) {
	t.Helper()
	w = gatewaytest.New(t, plan)
	a, b = w.Phone(gatewaytest.Alice, manner), w.FileGuest()
	up = begin(t, b, "application/x-thing", len(film), sha1.Sum(film))
	up.feed(film[:half])
	return w, a, b, up
}

// feed gives the upload some octets.
func (h *held) feed(b []byte) {
	h.t.Helper()
	if _, err := h.body.Write(b); err != nil {
		h.t.Fatal(err)
	}
}

// end gives it the last ones, and waits for the answer.
func (h *held) end(b []byte, status int) {
	h.t.Helper()
	h.feed(b)
	_ = h.body.Close()
	if res := <-h.done; res == nil || res.StatusCode != status {
		h.t.Fatalf("answer %+v %s, want %d", res, h.text, status)
	}
}

// cut breaks its connection.
func (h *held) cut() {
	_ = h.body.CloseWithError(errors.New("the train is in a tunnel"))
	<-h.done
}

// film is the file of these tests, and half how much of it comes at first.
const half = 2 << 20

var film = noise(2 * half)

// reaching is a phone's manner with files, and closes reached when so many octets of one have come.
func reaching(files imstest.FileManner, octets int64) (m imstest.FileManner, reached <-chan struct{}) {
	c := make(chan struct{})
	var once atomic.Bool
	files.Progress = func(got int64) {
		if got >= octets && once.CompareAndSwap(false, true) {
			close(c)
		}
	}
	return files, c
}

func within(t *testing.T, c <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(gatewaytest.Patience):
		t.Fatalf("%s did not happen", what)
	}
}

// F51: a file whose hash is declared goes to Alice's phone while the guest still uploads it, the hash in the offer; her phone
// has a megabyte when the upload stands still at its half. Nothing is told of it before it is stored, and it goes once.
func TestDeclaredFileGoesOutWhileItComes(t *testing.T) {
	t.Parallel()
	manner, reached := reaching(imstest.FileManner{}, 1<<20)
	w, a, b, up := halfway(t, gatewaytest.Plan{}, imstest.Manner{Files: manner})
	within(t, reached, "a megabyte on the phone")
	if n := w.Count("SELECT count(*) FROM file WHERE state = 'receiving' AND sha1 = '" + sum(film) + "'"); n != 1 {
		t.Errorf("%d files that are coming, want 1", n)
	}
	m := b.Send(gatewaytest.Alice, "look at this")
	for _, e := range b.Events(func(e gatewaytest.Event) bool { return e.Message.ID == m.ID }) {
		if e.File.ID != "" {
			t.Errorf("event %+v of a file that is not stored", e)
		}
	}
	up.end(film[half:], http.StatusAccepted)
	got := sentTo(t, w, a, 1)
	if got.Sum != sum(film) || got.SHA1 != sum(film) || got.Name != "film.bin" || got.Size != int64(len(film)) || got.Start != 0 {
		t.Errorf("Alice got %+v, want SHA-1 %s", got, sum(film))
	}
	b.FileEvent("delivery", state("sent"))
	if _, err := a.Wait(w.Within(gatewaytest.Patience), "hangup", 1); err != nil {
		t.Error("no BYE after the file")
	}
	if n := len(a.Invites()); n != 2 {
		t.Errorf("%d INVITEs, want one for the file and one for the message", n)
	}
	checkMetrics(t, w, map[string]string{
		`latchkey_files_calls_total{outcome="sent"}`: "1", "latchkey_files_carried_bytes_total": "4.194304e+06",
		`latchkey_files_received_files_total{direction="out",outcome="stored"}`: "1",
	})
}

// F51, F55, RFC 5547 §8.4: bytes that are not those of the declared hash, or don't all come, are taken back from Alice's phone by # and then BYE,
// and nothing of them stays.
func TestDeclaredFileThatDoesNotComeIsTakenBack(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*held){
		"wrong hash": func(up *held) {
			up.end(film[half:], http.StatusBadRequest)
			if !strings.Contains(up.text, "hash is wrong") {
				t.Errorf("problem %s", up.text)
			}
		},
		"cut at half": (*held).cut,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := gatewaytest.New(t, gatewaytest.Plan{})
			manner, reached := reaching(imstest.FileManner{}, 1<<20)
			a := w.Phone(gatewaytest.Alice, imstest.Manner{Files: manner})
			b := w.FileGuest()
			of := film
			if name == "wrong hash" {
				of = film[1:]
			}
			up := begin(t, b, "application/x-thing", len(film), sha1.Sum(of))
			up.feed(film[:half])
			within(t, reached, "a megabyte on the phone")
			end(up)
			cut, err := a.Wait(w.Within(gatewaytest.Patience), "filecut", 1)
			if err != nil {
				t.Fatal("Alice's phone did not see the file given up")
			}
			if hangup, err := a.Wait(w.Within(gatewaytest.Patience), "hangup", 1); err != nil || hangup[0].Time.Before(cut[0].Time) {
				t.Errorf("hung up at %v, given up at %v; %v", hangup, cut[0].Time, err)
			}
			if n := len(a.Events("file")); n != 0 {
				t.Errorf("Alice got %d files", n)
			}
			imstest.Eventually(t, gatewaytest.Patience, func() bool { return stored(t, w) == 0 && w.Rows("file") == 0 })
		})
	}
}

// F35, F55: what Alice declines, is too busy for, or stops in the middle of the upload has failed with her reason once it is stored, and is not
// offered again.
func TestDeclaredFileThatAliceDoesNotWantFails(t *testing.T) {
	t.Parallel()
	for reason, files := range map[string]imstest.FileManner{
		"declined": {Code: 603}, "busy": {Code: 486}, "stopped": {StopAt: 1 << 20}, "stopped the": {HangUpAt: 1 << 20}, "too large": {AnswerMaxSize: 1000},
	} {
		t.Run(reason, func(t *testing.T) {
			t.Parallel()
			w, a, b, up := halfway(t, gatewaytest.Plan{}, imstest.Manner{Files: files})
			imstest.Eventually(t, gatewaytest.Patience, func() bool {
				return w.Metric(`latchkey_files_calls_total{outcome="refused"}`) == "1"
			})
			if n := w.Count("SELECT count(*) FROM file WHERE state = 'receiving'"); n != 1 {
				t.Errorf("%d files that are coming, want 1", n)
			}
			up.end(film[half:], http.StatusAccepted)
			if e := b.FileEvent("delivery", state("failed")); !strings.Contains(e.File.Reason, reason) {
				t.Errorf("event %+v, want %q in the reason", e, reason)
			}
			imstest.Eventually(t, gatewaytest.Patience, func() bool { return stored(t, w) == 0 })
			if n := len(a.Invites()); n != 1 {
				t.Errorf("%d INVITEs, want one", n)
			}
		})
	}
}

// B3.12, RFC 5547 §8.1: what broke on Alice's side while the upload ran goes on behind what her phone has, from the stored file.
func TestDeclaredFileGoesOnAfterACut(t *testing.T) {
	t.Parallel()
	w, a, b, up := halfway(t, gatewaytest.Plan{}, imstest.Manner{Files: imstest.FileManner{CutAt: 3 << 19}})
	if _, err := a.Wait(w.Within(gatewaytest.Patience), "filecut", 1); err != nil {
		t.Fatal(err)
	}
	up.end(film[half:], http.StatusAccepted)
	if got := sentTo(t, w, a, 1); got.Sum != sum(film) || got.Start < 2 {
		t.Errorf("Alice got %+v, want the rest, and SHA-1 %s", got, sum(film))
	}
	b.FileEvent("delivery", state("sent"))
}

// F32: Alice, who lets it ring until the upload is over, gets the file all the same, in the same call.
func TestDeclaredFileWaitsForALateAnswer(t *testing.T) {
	t.Parallel()
	w, a, _, up := halfway(t, gatewaytest.Plan{}, imstest.Manner{RingFor: time.Second})
	imstest.Eventually(t, gatewaytest.Patience, func() bool { return len(a.Invites()) == 1 })
	up.end(film[half:], http.StatusAccepted)
	if n := len(a.Events("bound")); n != 0 {
		t.Fatal("Alice answered before the upload was over")
	}
	if got := sentTo(t, w, a, 1); got.Sum != sum(film) || len(a.Invites()) != 1 {
		t.Errorf("Alice got %+v in %d calls", got, len(a.Invites()))
	}
}

// F42, F55: a phone that still rings for what does not come is called off.
func TestPhoneStopsRingingForWhatDoesNotCome(t *testing.T) {
	t.Parallel()
	w, a, _, up := halfway(t, gatewaytest.Plan{}, imstest.Manner{RingFor: 5 * gatewaytest.Patience})
	imstest.Eventually(t, gatewaytest.Patience, func() bool { return len(a.Invites()) == 1 })
	up.cut()
	imstest.Eventually(t, gatewaytest.Patience, func() bool { return len(w.Core.Requests("CANCEL")) > 0 && stored(t, w) == 0 })
}

// R33, F34: nobody is called for a file while it comes if Alice is away; it waits on the disk as any other.
func TestDeclaredFileWaitsForTheInviter(t *testing.T) {
	t.Parallel()
	w := gatewaytest.New(t, gatewaytest.Plan{})
	b := w.FileGuest()
	begin(t, b, "application/x-thing", len(film), sha1.Sum(film)).end(film, http.StatusAccepted)
	w.Stop()
	a := w.Phone(gatewaytest.Alice, imstest.Manner{})
	w.Start()
	if got := sentTo(t, w, a, 1); got.Sum != sum(film) {
		t.Errorf("Alice got %+v", got)
	}
}

// F55: a guest who takes a file back while it comes takes it back from Alice's phone, too.
func TestGuestCancelsADeclaredFile(t *testing.T) {
	t.Parallel()
	manner, reached := reaching(imstest.FileManner{}, 1<<20)
	w, a, b, up := halfway(t, gatewaytest.Plan{}, imstest.Manner{Files: manner})
	within(t, reached, "a megabyte on the phone")
	var page struct{ Files []gatewaytest.SentFile }
	b.Do("GET", "/rcsgw/invitee/file?with="+url.QueryEscape(gatewaytest.Alice), "").Wants(http.StatusOK).Into(&page)
	if len(page.Files) != 1 || page.Files[0].State != "receiving" {
		t.Fatalf("files %+v", page.Files)
	}
	b.Do("DELETE", "/rcsgw/invitee/file/"+page.Files[0].ID, "").Wants(http.StatusNoContent)
	if res := <-up.done; res == nil || res.StatusCode != http.StatusConflict {
		t.Errorf("answer to the upload %+v %s", res, up.text)
	}
	for _, what := range []string{"filecut", "hangup"} {
		if _, err := a.Wait(w.Within(gatewaytest.Patience), what, 1); err != nil {
			t.Error(err)
		}
	}
	b.FileEvent("delivery", state("failed"))
	if n := stored(t, w); n != 0 {
		t.Errorf("%d files on disk", n)
	}
}

// X4: what a crash interrupts in the middle of the upload ends on Alice's phone with its connection, and the guest's next try brings it whole.
func TestDeclaredFileEndsWithTheGateway(t *testing.T) {
	t.Parallel()
	manner, reached := reaching(imstest.FileManner{}, 1<<20)
	w, a, b, up := halfway(t, gatewaytest.Plan{Command: serveCommand(t)}, imstest.Manner{Files: manner})
	within(t, reached, "a megabyte on the phone")
	w.Kill()
	up.cut()
	if n := len(a.Events("file")); n != 0 {
		t.Errorf("Alice got %d files", n)
	}
	w.Start()
	if n := w.Count("SELECT count(*) FROM file WHERE state <> 'receiving'"); n != 0 {
		t.Errorf("%d files that count", n)
	}
	again := begin(t, b, "application/x-thing", len(film), sha1.Sum(film))
	again.end(film, http.StatusAccepted)
	if got := sentTo(t, w, a, 1); got.Sum != sum(film) {
		t.Errorf("Alice got %+v", got)
	}
}

// F51: an upload that was cut and goes on later (draft-ietf-httpbis-resumable-upload) is taken back from Alice's phone, and comes to her whole when
// it is.
func TestDeclaredFileInPartsComesWhole(t *testing.T) {
	t.Parallel()
	w := gatewaytest.New(t, gatewaytest.Plan{})
	manner, reached := reaching(imstest.FileManner{}, 1<<20)
	a := w.Phone(gatewaytest.Alice, imstest.Manner{Files: manner})
	b := w.FileGuest()
	digest := sha1.Sum(film)
	ask := func(method, path string, body io.Reader, n int64, header map[string]string) (*http.Response, error) {
		req, err := http.NewRequestWithContext(w.Within(2*gatewaytest.Patience), method, path, body)
		if err != nil {
			t.Fatal(err)
		}
		req.ContentLength = n
		req.SetBasicAuth(b.Account, b.Password)
		for k, v := range header {
			req.Header.Set(k, v)
		}
		res, err := http.DefaultClient.Do(req)
		if err == nil {
			_ = res.Body.Close()
		}
		return res, err
	}
	res, err := ask("POST", w.URL()+"/rcsgw/invitee/file?to="+url.QueryEscape(gatewaytest.Alice), nil, 0, map[string]string{
		"Content-Type": "application/x-thing", "Upload-Complete": "?0", "Upload-Length": "4194304", "Repr-Digest": "sha=:" + base64.StdEncoding.EncodeToString(digest[:]) + ":",
	})
	if err != nil || res.StatusCode != http.StatusCreated {
		t.Fatalf("POST = %+v, %v", res, err)
	}
	place := w.URL() + res.Header.Get("Location")
	part := func(body io.Reader, from, n int) (*http.Response, error) {
		return ask("PATCH", place, body, int64(n), map[string]string{"Content-Type": "application/partial-upload", "Upload-Complete": "?1", "Upload-Offset": strconv.Itoa(from)})
	}
	r, body := io.Pipe()
	broken := make(chan error, 1)
	go func() {
		_, err := part(r, 0, len(film))
		broken <- err
	}()
	if _, err := body.Write(film[:half]); err != nil {
		t.Fatal(err)
	}
	within(t, reached, "a megabyte on the phone")
	_ = body.CloseWithError(errors.New("cut"))
	if err := <-broken; err == nil {
		t.Fatal("the part was answered")
	}
	for _, what := range []string{"filecut", "hangup"} {
		if _, err := a.Wait(w.Within(gatewaytest.Patience), what, 1); err != nil {
			t.Fatal(err)
		}
	}
	var at int
	imstest.Eventually(t, gatewaytest.Patience, func() bool {
		res, err := ask("HEAD", place, nil, 0, nil)
		if err != nil {
			return false
		}
		at, _ = strconv.Atoi(res.Header.Get("Upload-Offset"))
		return at >= 1<<20
	})
	if res, err := part(bytes.NewReader(film[at:]), at, len(film)-at); err != nil || res.StatusCode != http.StatusAccepted {
		t.Fatalf("PATCH = %+v, %v", res, err)
	}
	if got := sentTo(t, w, a, 1); got.Sum != sum(film) || got.Start != 0 || len(a.Invites()) != 2 {
		t.Errorf("Alice got %+v in %d calls", got, len(a.Invites()))
	}
}

// gated is a file that can be read from the beginning to its half, and then, once the gate is open, to its end.
type gated struct {
	*bytes.Reader
	gate <-chan struct{}
}

func (g gated) Read(b []byte) (int, error) {
	if at := int(g.Size()) - g.Len(); at >= half {
		<-g.gate
	} else {
		b = b[:min(len(b), half-at)]
	}
	return g.Reader.Read(b)
}

// F51, X3: what a guest sends with our client goes out while it comes, too.
func TestClientDeclaresItsFiles(t *testing.T) {
	t.Parallel()
	w := gatewaytest.New(t, gatewaytest.Plan{})
	manner, reached := reaching(imstest.FileManner{}, 1<<20)
	a := w.Phone(gatewaytest.Alice, imstest.Manner{Files: manner})
	b := w.FileGuest()
	c, err := guestclient.Open(b.Link, guestclient.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	gate, sent := make(chan struct{}), make(chan error, 1)
	go func() { // ends with the file
		_, err := c.SendFile(w.Within(2*gatewaytest.Patience), gatewaytest.Alice, "film.bin", "application/x-thing", gated{bytes.NewReader(film), gate})
		sent <- err
	}()
	within(t, reached, "a megabyte on the phone")
	close(gate)
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	if got := sentTo(t, w, a, 1); got.Sum != sum(film) || len(a.Invites()) != 1 {
		t.Errorf("Alice got %+v in %d calls", got, len(a.Invites()))
	}
}

// X3: with a scanner nobody is called before that has looked; by then a message that was written later is with Alice.
func TestScannerSeesDeclaredFilesFirst(t *testing.T) {
	t.Parallel()
	w, a, b, up := halfway(t, gatewaytest.Plan{Args: []string{"--file-scan=clamd:" + clean(t)}}, imstest.Manner{})
	b.Send(gatewaytest.Alice, "while it comes")
	if _, err := a.Wait(w.Within(gatewaytest.Patience), "message", 1); err != nil {
		t.Fatal(err)
	}
	if n := len(a.Invites()); n != 1 {
		t.Errorf("%d INVITEs before the scanner has looked, want that of the message", n)
	}
	up.end(film[half:], http.StatusAccepted)
	if got := sentTo(t, w, a, 1); got.Sum != sum(film) {
		t.Errorf("Alice got %+v", got)
	}
	checkMetrics(t, w, map[string]string{`latchkey_files_scans_total{outcome="clean"}`: "1"})
}

// clean is the address of a scanner that finds nothing, by clamd(8)'s INSTREAM: pieces behind their length, and an empty one.
func clean(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() { // ends with the listener
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { // ends with the connection
				defer c.Close()
				r := bufio.NewReader(c)
				if _, err := r.ReadString(0); err != nil {
					return
				}
				for n := uint32(1); n > 0; {
					if binary.Read(r, binary.BigEndian, &n) != nil {
						return
					}
					if _, err := io.CopyN(io.Discard, r, int64(n)); err != nil {
						return
					}
				}
				_, _ = io.WriteString(c, "stream: OK\x00")
			}()
		}
	}()
	return l.Addr().String()
}
