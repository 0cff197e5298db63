package gateway_test

import (
	"bytes"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/metrics"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"latchkey/gateway/gatewaytest"
	"latchkey/imstest"
)

// noise is a file that no compression or lucky repetition makes easier: size octets of a seed.
func noise(size int) []byte {
	b := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{byte(size)}).Read(b) // never fails
	return b
}

func sum(b []byte) string {
	s := sha1.Sum(b)
	return hex.EncodeToString(s[:])
}

// stored counts the files in the gateway's file store.
func stored(t *testing.T, w *gatewaytest.World) (n int) {
	t.Helper()
	err := filepath.WalkDir(w.Data+".files", func(_ string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			n++
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func state(s string) func(gatewaytest.Event) bool {
	return func(e gatewaytest.Event) bool { return e.File.State == s }
}

// F53, R33: an inviter's file comes over MSRP, is on disk before its last 200, and is told with its preview.
func TestInvitersFileReachesTheGuest(t *testing.T) {
	t.Parallel()
	for _, setup := range []string{"", "active"} {
		t.Run("setup "+setup, func(t *testing.T) {
			t.Parallel()
			w := gatewaytest.New(t, gatewaytest.Plan{})
			a := w.Phone(gatewaytest.Alice, imstest.Manner{Setup: setup})
			b := w.FileGuest()
			body := noise(1 << 20)
			icon := append([]byte("\xff\xd8\xff\xe0"), noise(500)...)
			taken, err := a.SendFile(w.Within(gatewaytest.Patience), b.Account, imstest.FileOffer{
				Name: "My cool picture.jpg", Type: "image/jpeg", Body: bytes.NewReader(body), Size: int64(len(body)), Icon: icon,
			})
			if err != nil || taken != int64(len(body)) {
				t.Fatalf("SendFile = %d, %v", taken, err)
			}
			if n := w.Count("SELECT count(*) FROM file WHERE state = 'accepted' AND sha1 = '" + sum(body) + "'"); n != 1 {
				t.Errorf("%d complete files after the last 200, want 1", n)
			}
			e := b.FileEvent("file", func(gatewaytest.Event) bool { return true })
			if e.File.Name != "My cool picture.jpg" || e.File.Type != "image/jpeg" || e.File.Size != int64(len(body)) || !e.File.Preview || e.From != gatewaytest.Alice || e.File.State != "" {
				t.Errorf("event %+v", e)
			}
			var got bytes.Buffer
			if status := b.Download(e.File.ID, &got); status != 200 || sum(got.Bytes()) != sum(body) {
				t.Errorf("download: %d, %d octets", status, got.Len())
			}
			if n := len(a.Requests("BYE")); n != 0 {
				t.Errorf("%d BYEs from the gateway; it is the sender who hangs up", n)
			}
		})
	}
}

// F53: after a cut, Alice offers the rest, and the part that came before is kept; nothing is told until the end.
func TestInvitersFileGoesOnAfterACut(t *testing.T) {
	t.Parallel()
	w := gatewaytest.New(t, gatewaytest.Plan{})
	a := w.Phone(gatewaytest.Alice, imstest.Manner{})
	b := w.FileGuest()
	body := noise(2 << 20)
	offer := imstest.FileOffer{Name: "film.mp4", Type: "video/mp4", Body: bytes.NewReader(body), Size: int64(len(body)), CutAt: 1 << 20}
	taken, err := a.SendFile(w.Within(gatewaytest.Patience), b.Account, offer)
	if err == nil || taken < 1<<20 {
		t.Fatalf("SendFile = %d, %v; want it cut in the middle", taken, err)
	}
	part := b.FileEvent("delivery", state("receiving"))
	if part.From != gatewaytest.Alice || part.File.Name != "film.mp4" || part.File.Sent < 1<<20 || part.File.Sent >= int64(len(body)) || part.File.Reason == "" {
		t.Errorf("event %+v, want that a part is kept", part)
	}
	offer.CutAt, offer.Start = 0, taken+1
	rest, err := a.SendFile(w.Within(gatewaytest.Patience), b.Account, offer)
	if err != nil || taken+rest != int64(len(body)) {
		t.Fatalf("SendFile of the rest = %d, %v", rest, err)
	}
	e := b.FileEvent("file", func(gatewaytest.Event) bool { return true })
	var got bytes.Buffer
	if e.File.ID != part.File.ID {
		t.Errorf("the whole file is %s, its part was %s", e.File.ID, part.File.ID)
	}
	if status := b.Download(e.File.ID, &got); status != 200 || sum(got.Bytes()) != sum(body) {
		t.Errorf("download: %d, %d octets of %d", status, got.Len(), len(body))
	}
	if n := stored(t, w); n != 1 {
		t.Errorf("%d files on disk, want 1", n)
	}
	// A part whose beginning is not here is refused (RFC 5547 §8.3.1).
	other := noise(4096)
	_, err = a.SendFile(w.Within(gatewaytest.Patience), b.Account, imstest.FileOffer{Name: "x", Type: "text/plain", Body: bytes.NewReader(other), Size: 4096, Start: 2000})
	if refused, ok := errors.AsType[*imstest.Refusal](err); !ok || refused.Status != 488 {
		t.Errorf("a part of an unknown file = %v, want 488", err)
	}
}

// F53, RFC 3261 §13.2.2.4, §15: the phone takes its ACK for sent; what came by MSRP before the BYE counts though the ACK was lost.
func TestInvitersFileNeedsNoACK(t *testing.T) {
	t.Parallel()
	w := gatewaytest.New(t, gatewaytest.Plan{})
	a := w.Phone(gatewaytest.Alice, imstest.Manner{LostACK: true})
	b := w.FileGuest()
	body := noise(200_000)
	offer := imstest.FileOffer{Name: "film.mp4", Type: "video/mp4", Body: bytes.NewReader(body), Size: int64(len(body)), CutAt: 100_000}
	taken, err := a.SendFile(w.Within(gatewaytest.Patience), b.Account, offer)
	if err == nil || taken < 100_000 {
		t.Fatalf("SendFile = %d, %v; want it cut in the middle", taken, err)
	}
	if part := b.FileEvent("delivery", state("receiving")); part.File.Sent < taken || part.File.Reason == "" {
		t.Errorf("event %+v, want that a part is kept", part)
	}
	offer.CutAt, offer.Start = 0, taken+1
	if rest, err := a.SendFile(w.Within(gatewaytest.Patience), b.Account, offer); err != nil || taken+rest != int64(len(body)) {
		t.Fatalf("SendFile of the rest = %d, %v", rest, err)
	}
	var got bytes.Buffer
	if status := b.Download(b.FileEvent("file", func(gatewaytest.Event) bool { return true }).File.ID, &got); status != 200 || sum(got.Bytes()) != sum(body) {
		t.Errorf("download: %d, %d octets of %d", status, got.Len(), len(body))
	}
}

// F53: a file whose hash is wrong is not kept; the guest is told why there is none.
func TestDamagedFileIsNotKept(t *testing.T) {
	t.Parallel()
	w := gatewaytest.New(t, gatewaytest.Plan{})
	a := w.Phone(gatewaytest.Alice, imstest.Manner{})
	b := w.FileGuest()
	body := noise(300_000)
	wrong := sha1.Sum([]byte("something else"))
	taken, err := a.SendFile(w.Within(gatewaytest.Patience), b.Account, imstest.FileOffer{
		Name: "report.pdf", Type: "application/pdf", Body: bytes.NewReader(body), Size: int64(len(body)), SHA1: wrong[:],
	})
	if err == nil || taken == int64(len(body)) {
		t.Fatalf("SendFile = %d, %v; want the last chunk refused", taken, err)
	}
	e := b.FileEvent("file", state("failed"))
	if e.File.Name != "report.pdf" || !strings.Contains(e.File.Reason, "damaged") {
		t.Errorf("event %+v", e)
	}
	imstest.Eventually(t, gatewaytest.Patience, func() bool { return stored(t, w) == 0 })
}

// F55, X3: Alice gives the file up in the middle, and nothing of it stays.
func TestInviterCancelsAFile(t *testing.T) {
	t.Parallel()
	w := gatewaytest.New(t, gatewaytest.Plan{})
	a := w.Phone(gatewaytest.Alice, imstest.Manner{})
	b := w.FileGuest()
	body := noise(1 << 20)
	_, err := a.SendFile(w.Within(gatewaytest.Patience), b.Account, imstest.FileOffer{
		Name: "film.mp4", Type: "video/mp4", Body: bytes.NewReader(body), Size: int64(len(body)), AbortAt: 1 << 19,
	})
	if err == nil {
		t.Fatal("SendFile ended well")
	}
	imstest.Eventually(t, gatewaytest.Patience, func() bool { return w.Rows("file") == 0 && stored(t, w) == 0 })
	if n := w.Count("SELECT count(*) FROM event WHERE body LIKE '%film%'"); n != 0 {
		t.Errorf("%d events about a file that was given up", n)
	}
}

// R31, X3, RFC 5547 §8.3.1: who may not send a file, or not such a one, is told before a byte comes.
func TestUnwelcomeFilesAreRefused(t *testing.T) {
	t.Parallel()
	w := gatewaytest.New(t, gatewaytest.Plan{Args: []string{"--file-max-size=100KiB", "--file-quota=150KiB"}})
	a, x := w.Phone(gatewaytest.Alice, imstest.Manner{}), w.Phone(gatewaytest.Stranger, imstest.Manner{})
	b := w.FileGuest()
	send := func(p *imstest.Phone, size int) int {
		t.Helper()
		body := noise(size)
		_, err := p.SendFile(w.Within(gatewaytest.Patience), b.Account, imstest.FileOffer{Name: "a.bin", Type: "application/x-thing", Body: bytes.NewReader(body), Size: int64(size)})
		if err == nil {
			return 200
		}
		refused, ok := errors.AsType[*imstest.Refusal](err)
		if !ok {
			t.Fatal(err)
		}
		return refused.Status
	}
	for _, c := range []struct {
		who  string
		from *imstest.Phone
		size int
		want int
	}{
		{"a stranger", x, 10, 404},
		{"too large", a, 100<<10 + 1, 413},
		{"just right", a, 100 << 10, 200},
		{"over the quota", a, 60 << 10, 480},
		{"within the quota", a, 40 << 10, 200},
	} {
		if got := send(c.from, c.size); got != c.want {
			t.Errorf("%s: %d, want %d", c.who, got, c.want)
		}
	}
	if n := stored(t, w); n != 2 {
		t.Errorf("%d files on disk, want the two that were taken", n)
	}
}

// R9, R33: an invitation for messages is none for files.
func TestInvitationForMessagesTakesNoFiles(t *testing.T) {
	t.Parallel()
	w := gatewaytest.New(t, gatewaytest.Plan{})
	a := w.Phone(gatewaytest.Alice, imstest.Manner{})
	b := w.Guest()
	_, err := a.SendFile(w.Within(gatewaytest.Patience), b.Account, imstest.FileOffer{Name: "a", Type: "text/plain", Body: strings.NewReader("hi"), Size: 2})
	if refused, ok := errors.AsType[*imstest.Refusal](err); !ok || refused.Status != 403 {
		t.Errorf("SendFile = %v, want 403", err)
	}
	if n := w.Rows("file"); n != 0 {
		t.Errorf("%d rows", n)
	}
}

// sentTo waits for the file that a phone gets, or fails the test with what came instead.
func sentTo(t *testing.T, w *gatewaytest.World, a *imstest.Phone, nth int) *imstest.PhoneFile {
	t.Helper()
	got, err := a.Wait(w.Within(gatewaytest.Patience), "file", nth)
	if err != nil {
		t.Fatalf("%v; cut off: %+v", err, a.Events("filecut"))
	}
	return got[nth-1].File
}

// F51, F09, B3.03, B3.12: a guest's file goes to Alice's phone in a call of its own, octet by octet the same; the guest sees it go. The
// phone's own wire code looks at the offer, and at each chunk.
func TestGuestsFileReachesTheInviter(t *testing.T) {
	t.Parallel()
	for _, setup := range []string{"active", "passive"} {
		t.Run(setup, func(t *testing.T) {
			t.Parallel()
			ft := gatewaytest.NewCore(t, imstest.CoreOptions{Domains: []string{"cc.com", "guest.example"}, Open: true})
			w := gatewaytest.New(t, gatewaytest.Plan{Args: []string{"--file-server=" + ft.URI()}})
			a := w.Phone(gatewaytest.Alice, imstest.Manner{Setup: setup})
			b := w.FileGuest()
			body := noise(map[string]int{"active": 10 << 20, "passive": 100_000}[setup])
			f := b.SendFile(gatewaytest.Alice, "plan.pdf", "application/pdf", bytes.NewReader(body))
			progress := b.FileEvent("delivery", func(e gatewaytest.Event) bool { return e.File.ID == f.ID }) // it lapses soon
			got := sentTo(t, w, a, 1)
			if got.Sum != sum(body) || got.SHA1 != sum(body) || got.Name != "plan.pdf" || got.Type != "application/pdf" || got.Size != int64(len(body)) || got.Disposition != "attachment" || got.Start != 0 {
				t.Errorf("Alice got %+v, want SHA-1 %s", got, sum(body))
			}
			if progress.File.Sent <= 0 || progress.File.Sent > int64(len(body)) || progress.File.State != "accepted" {
				t.Errorf("first event %+v, want progress", progress)
			}
			b.FileEvent("delivery", state("sent"))
			if _, err := a.Wait(w.Within(gatewaytest.Patience), "hangup", 1); err != nil {
				t.Error("no BYE after the file")
			}
			invite := a.Invites()[0]
			for name, want := range map[string]string{"P-Asserted-Identity": gatewaytest.GuestURI, "Accept-Contact": "rcse.ft", "Content-Type": "application/sdp"} {
				if v := invite.Get(name); !strings.Contains(v, want) {
					t.Errorf("INVITE has %s: %q, want %q in it", name, v, want)
				}
			}
			if r := ft.Requests("REGISTER"); len(r) == 0 {
				t.Error("the account was not registered at the file server")
			}
		})
	}
}

// F09, R26: an account that the file server does not know is registered there before the call.
func TestFileServerKnowsTheAccountBeforeTheCall(t *testing.T) {
	t.Parallel()
	ft := gatewaytest.NewCore(t, imstest.CoreOptions{Domains: []string{"cc.com", "guest.example"}, Open: true})
	w := gatewaytest.New(t, gatewaytest.Plan{Args: []string{"--file-server=" + ft.URI()}})
	a := w.Phone(gatewaytest.Alice, imstest.Manner{})
	ft.Fault("REGISTER", &imstest.Fault{Code: 500})
	b := w.FileGuest()
	ft.Fault("REGISTER", nil)
	ft.Forget()
	b.SendFile(gatewaytest.Alice, "a.txt", "text/plain", strings.NewReader("short"))
	if got := sentTo(t, w, a, 1); got.Sum != sum([]byte("short")) {
		t.Errorf("Alice got %+v", got)
	}
	registers, invites := ft.Requests("REGISTER"), w.Core.Requests("INVITE")
	if len(registers) == 0 || registers[0].Final != 200 || len(invites) != 1 || !registers[0].Time.Before(invites[0].Time) {
		t.Errorf("REGISTERs %v and %d INVITEs, want a REGISTER and then one INVITE", statuses(registers), len(invites))
	}
}

// B3.12, F35: what Alice's phone does not take has failed, with a reason that a person understands, and is erased.
func TestRefusedFilesAreToldWithTheReason(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		manner imstest.Manner
		reason string
	}{
		{"declined", imstest.Manner{Files: imstest.FileManner{Code: 603}}, "declined"},
		{"busy", imstest.Manner{Files: imstest.FileManner{Code: 486}}, "busy"},
		{"unknown type", imstest.Manner{Files: imstest.FileManner{Code: 415}}, "can't take this file"},
		{"too large before", imstest.Manner{Files: imstest.FileManner{Code: 413}}, "too large"},
		{"max-size in the answer", imstest.Manner{Files: imstest.FileManner{AnswerMaxSize: 1000}}, "too large"},
		{"no files at all", imstest.Manner{Tags: imstest.TextTags}, "can't take files"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := gatewaytest.New(t, gatewaytest.Plan{})
			a := w.Phone(gatewaytest.Alice, c.manner)
			b := w.FileGuest()
			f := b.SendFile(gatewaytest.Alice, "a.bin", "application/x-thing", bytes.NewReader(noise(2000)))
			e := b.FileEvent("delivery", state("failed"))
			if e.File.ID != f.ID || !strings.Contains(e.File.Reason, c.reason) {
				t.Errorf("event %+v, want %q in the reason", e, c.reason)
			}
			imstest.Eventually(t, gatewaytest.Patience, func() bool { return stored(t, w) == 0 })
			if n := len(a.Events("file")); n != 0 {
				t.Errorf("Alice got %d files", n)
			}
		})
	}
}

// F55: Alice stops a file in the middle, by 413 or by BYE: it has failed, and is not offered again.
func TestInviterStopsAFile(t *testing.T) {
	t.Parallel()
	for name, files := range map[string]imstest.FileManner{"413": {StopAt: 1 << 20}, "BYE": {HangUpAt: 1 << 20}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := gatewaytest.New(t, gatewaytest.Plan{})
			a := w.Phone(gatewaytest.Alice, imstest.Manner{Files: files})
			b := w.FileGuest()
			b.SendFile(gatewaytest.Alice, "a.bin", "application/x-thing", bytes.NewReader(noise(4<<20)))
			e := b.FileEvent("delivery", state("failed"))
			if !strings.Contains(e.File.Reason, "stopped") {
				t.Errorf("reason %q", e.File.Reason)
			}
			imstest.Eventually(t, gatewaytest.Patience, func() bool { return stored(t, w) == 0 })
			if n := len(a.Invites()); n != 1 {
				t.Errorf("%d INVITEs, want one", n)
			}
		})
	}
}

// F55, RFC 5547 §8.4: the guest takes a file back in the middle: Alice's phone sees the #, then the BYE; nothing stays.
func TestGuestCancelsAFile(t *testing.T) {
	t.Parallel()
	w := gatewaytest.New(t, gatewaytest.Plan{})
	release := make(chan struct{})
	a := w.Phone(gatewaytest.Alice, imstest.Manner{Files: imstest.FileManner{Pause: release}})
	b := w.FileGuest()
	f := b.SendFile(gatewaytest.Alice, "a.bin", "application/x-thing", bytes.NewReader(noise(16<<20)))
	if _, err := a.Wait(w.Within(gatewaytest.Patience), "bound", 1); err != nil {
		t.Fatal(err)
	}
	b.Do("DELETE", "/rcsgw/invitee/file/"+f.ID, "").Wants(204)
	close(release)
	e := b.FileEvent("delivery", state("failed"))
	if e.File.ID != f.ID {
		t.Errorf("event %+v", e)
	}
	cut, err := a.Wait(w.Within(gatewaytest.Patience), "filecut", 1)
	if err != nil {
		t.Fatal("Alice's phone did not see the file given up")
	}
	hangup, err := a.Wait(w.Within(gatewaytest.Patience), "hangup", 1)
	if err != nil || hangup[0].Time.Before(cut[0].Time) {
		t.Errorf("hung up at %v, given up at %v; %v", hangup, cut[0].Time, err)
	}
	if n := stored(t, w); n != 0 {
		t.Errorf("%d files on disk", n)
	}
}

// B3.12, RFC 5547 §8.1, §8.3.1: after a cut the file goes on behind what Alice's phone has, under a new transfer id; whole where
// it takes no parts. The phone sees to the ids.
func TestGuestsFileGoesOnAfterACut(t *testing.T) {
	t.Parallel()
	for name, files := range map[string]imstest.FileManner{"resumed": {CutAt: 3 << 20}, "whole again": {CutAt: 3 << 20, NoRange: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := gatewaytest.New(t, gatewaytest.Plan{})
			a := w.Phone(gatewaytest.Alice, imstest.Manner{Files: files})
			b := w.FileGuest()
			body := noise(4 << 20)
			b.SendFile(gatewaytest.Alice, "a.bin", "application/x-thing", bytes.NewReader(body))
			got := sentTo(t, w, a, 1)
			if got.Sum != sum(body) {
				t.Errorf("Alice has %s, want %s", got.Sum, sum(body))
			}
			// Answers may be lost in the cut, but no more than a window of them: 2 MiB.
			if resumed := got.Start > 1<<19; resumed == files.NoRange {
				t.Errorf("the second transfer begins at %d", got.Start)
			}
			b.FileEvent("delivery", state("sent"))
		})
	}
}

// B3.12, RFC 5547 §8.7: where Alice's phone takes files in CPIM only, they come in CPIM.
func TestFileInAWrapper(t *testing.T) {
	t.Parallel()
	w := gatewaytest.New(t, gatewaytest.Plan{})
	a := w.Phone(gatewaytest.Alice, imstest.Manner{Files: imstest.FileManner{CPIMOnly: true}})
	b := w.FileGuest()
	body := noise(100_000)
	b.SendFile(gatewaytest.Alice, "a.bin", "application/x-thing", bytes.NewReader(body))
	if got := sentTo(t, w, a, 1); got.Sum != sum(body) {
		t.Errorf("Alice got %+v", got)
	}
	back := imstest.FileOffer{Name: "b.bin", Type: "application/x-thing", Body: bytes.NewReader(body), Size: int64(len(body)), CPIM: true}
	if _, err := a.SendFile(w.Within(gatewaytest.Patience), b.Account, back); err != nil {
		t.Fatal(err)
	}
	if n := w.Count("SELECT count(*) FROM file WHERE direction = 'in' AND state = 'accepted' AND sha1 = '" + sum(body) + "'"); n != 1 {
		t.Errorf("%d complete files of Alice's, want 1", n)
	}
}

// R33, X4: a file waits for Alice on the disk, over a restart, and goes when she is there.
func TestFileWaitsForTheInviter(t *testing.T) {
	t.Parallel()
	w := gatewaytest.New(t, gatewaytest.Plan{})
	b := w.FileGuest()
	body := noise(100_000)
	f := b.SendFile(gatewaytest.Alice, "a.bin", "application/x-thing", bytes.NewReader(body))
	imstest.Eventually(t, gatewaytest.Patience, func() bool { return len(w.Core.Requests("OPTIONS")) > 0 })
	w.Stop()
	a := w.Phone(gatewaytest.Alice, imstest.Manner{})
	w.Start()
	if got := sentTo(t, w, a, 1); got.Sum != sum(body) {
		t.Errorf("Alice got %+v", got)
	}
	if e := b.FileEvent("delivery", state("sent")); e.File.ID != f.ID {
		t.Errorf("event %+v", e)
	}
}

// F52, B3.13: where Alice's phone takes files by HTTP only, or the operator prefers that, it is told in the chat where to fetch one.
func TestFileByHTTP(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		tags string
		args []string
	}{"the phone's only way": {imstest.HTTPFileTags, nil}, "the operator's order": {imstest.FileTags, []string{"--file-ways=http,msrp"}}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := gatewaytest.New(t, gatewaytest.Plan{Args: c.args})
			a := w.Phone(gatewaytest.Alice, imstest.Manner{Tags: c.tags})
			b := w.FileGuest()
			body := noise(100_000)
			f := b.SendFile(gatewaytest.Alice, "a.png", "image/png", bytes.NewReader(body))
			got, err := a.Wait(w.Within(gatewaytest.Patience), "fileoffer", 1)
			if err != nil || got[0].ID != f.ID {
				t.Fatalf("Alice got %+v, %v", got, err)
			}
			address := regexp.MustCompile(`<data url="([^"]+)" until="[^"]+"`).FindStringSubmatch(got[0].Text)
			if address == nil {
				t.Fatalf("no address in %s", got[0].Text)
			}
			res, err := http.Get(address[1])
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			all, err := io.ReadAll(res.Body)
			if err != nil || res.StatusCode != 200 || sum(all) != sum(body) {
				t.Errorf("GET %s = %d, %d octets, %v", address[1], res.StatusCode, len(all), err)
			}
			b.FileEvent("delivery", state("delivered")) // the phone's word may overtake its 200, and with it sent
			a.Display(gatewaytest.GuestURI, f.ID)
			b.FileEvent("delivery", state("displayed"))
		})
	}
}

// F54, S13: a file that Alice's phone put on a server is fetched and told, but never from where her words must not lead us.
func TestInvitersFileIsFetched(t *testing.T) {
	t.Parallel()
	w := gatewaytest.New(t, gatewaytest.Plan{Args: []string{"--file-peers=127.0.0.0/8"}})
	a := w.Phone(gatewaytest.Alice, imstest.Manner{})
	b := w.FileGuest()
	body := noise(100_000)
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		http.ServeContent(rw, r, "", time.Time{}, bytes.NewReader(body))
	}))
	t.Cleanup(server.Close)
	id, err := a.OfferFile(w.Within(gatewaytest.Patience), b.Account, "cat.png", "image/png", server.URL+"/x", int64(len(body)))
	if err != nil {
		t.Fatal(err)
	}
	e := b.FileEvent("file", func(gatewaytest.Event) bool { return true })
	var got bytes.Buffer
	if b.Download(e.File.ID, &got); e.File.Name != "cat.png" || e.File.State != "" || sum(got.Bytes()) != sum(body) {
		t.Errorf("event %+v, %d octets", e, got.Len())
	}
	b.Do("GET", fmt.Sprintf("/rcsgw/invitee/events?after=%d&wait=0", b.Last), "").Wants(200)
	receipts, err := a.Wait(w.Within(gatewaytest.Patience), "receipt", 1)
	if err != nil || receipts[0].ID != id || receipts[0].Status != "delivered" {
		t.Errorf("receipts %+v, %v", receipts, err)
	}
	if got := w.Metric(`latchkey_files_fetches_total{outcome="forbidden"}`); got != "0" {
		t.Errorf("%s fetches were forbidden before the first one", got)
	}
	if _, err := a.OfferFile(w.Within(gatewaytest.Patience), b.Account, "meta.txt", "text/plain", "http://169.254.169.254/latest/meta-data", 10); err != nil {
		t.Fatal(err)
	}
	if e := b.FileEvent("file", state("failed")); e.File.Name != "meta.txt" || !strings.Contains(e.File.Reason, "not allowed") {
		t.Errorf("event %+v", e)
	}
	checkMetrics(t, w, map[string]string{`latchkey_files_fetches_total{outcome="forbidden"}`: "1", `latchkey_files_fetches_total{outcome="fetched"}`: "1"})
}

// F56, R30, S6: an invitation that is taken back ends the files that are under way in either direction, and erases all of them.
func TestEndOfTheRelationEndsItsFiles(t *testing.T) {
	t.Parallel()
	w := gatewaytest.New(t, gatewaytest.Plan{})
	release := make(chan struct{})
	a := w.Phone(gatewaytest.Alice, imstest.Manner{Files: imstest.FileManner{Pause: release}})
	b := w.FileGuest()
	b.SendFile(gatewaytest.Alice, "a.bin", "application/x-thing", bytes.NewReader(noise(16<<20)))
	if _, err := a.Wait(w.Within(gatewaytest.Patience), "bound", 1); err != nil {
		t.Fatal(err)
	}
	body := noise(4 << 20)
	half, ended := make(chan struct{}), make(chan error, 1)
	withdrawn := make(chan struct{})
	go func() {
		_, err := a.SendFile(w.Within(gatewaytest.Patience), b.Account, imstest.FileOffer{
			Name: "film.mp4", Type: "video/mp4", Body: bytes.NewReader(body), Size: int64(len(body)),
			Progress: func(octets int64) {
				if octets >= 2<<20 {
					select {
					case <-half:
					default:
						close(half)
						<-withdrawn
					}
				}
			},
		})
		ended <- err
	}()
	<-half
	if n := stored(t, w); n != 2 {
		t.Errorf("%d files on disk before, want 2", n)
	}
	close(release)
	w.Do("DELETE", "/rcsgw/invitee/user/"+b.Account, gatewaytest.Alice, gatewaytest.Password, "").Wants(204)
	close(withdrawn)
	if err := <-ended; err == nil {
		t.Error("Alice's file ended well though the invitation was gone")
	}
	if n, rows := stored(t, w), w.Rows("file"); n != 0 || rows != 0 {
		t.Errorf("%d files on disk, %d rows", n, rows)
	}
	if _, err := a.Wait(w.Within(gatewaytest.Patience), "hangup", 2); err != nil {
		t.Error(err)
	}
}

// dull is a file of any size that needs no memory.
type dull struct{ at, size int64 }

func (d *dull) ReadAt(b []byte, off int64) (int, error) {
	n := int(min(int64(len(b)), d.size-off))
	for i := range b[:max(n, 0)] {
		b[i] = byte((off + int64(i)) >> 9)
	}
	if n < len(b) {
		return max(n, 0), io.EOF
	}
	return n, nil
}

func (d *dull) Read(b []byte) (int, error) {
	n, err := d.ReadAt(b, d.at)
	d.at += int64(n)
	return n, err
}

// Issue 8, line 6: no file is in memory, on its way from the guest's upload to Alice's phone, or back. The heap holds both ends, too.
func TestLongFilesNeedNoMemory(t *testing.T) {
	const size, back, may = 256 << 20, 16 << 20, 48 << 20
	w := gatewaytest.New(t, gatewaytest.Plan{Args: []string{"--file-max-size=300MiB"}})
	a := w.Phone(gatewaytest.Alice, imstest.Manner{})
	b := w.FileGuest()
	runtime.GC()
	before := heap()
	var most atomic.Uint64
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for tick := time.NewTicker(20 * time.Millisecond); ; {
			select {
			case <-tick.C:
				most.Store(max(most.Load(), heap()))
			case <-stop:
				tick.Stop()
				return
			}
		}
	}()
	patient := w.Within(20 * gatewaytest.Patience)
	b.SendFile(gatewaytest.Alice, "long.bin", "application/x-thing", &dull{size: size})
	got, err := a.Wait(patient, "file", 1)
	if err != nil || got[0].File.Got != size || got[0].File.Sum != got[0].File.SHA1 {
		t.Fatalf("Alice got %+v, %v", got, err)
	}
	if taken, err := a.SendFile(patient, b.Account, imstest.FileOffer{Name: "back.bin", Type: "application/x-thing", Body: &dull{size: back}, Size: back, Chunk: 64 << 10}); err != nil || taken != back {
		t.Fatalf("SendFile = %d, %v", taken, err)
	}
	close(stop)
	<-stopped
	if grown := int64(most.Load()) - int64(before); grown > may {
		t.Errorf("the heap grew by %d MiB, may grow by %d", grown>>20, may>>20)
	}
}

// heap is what was alive when the collector last looked: how far it lags behind depends on what else this machine does.
func heap() uint64 {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	return live[0].Value.Uint64()
}
