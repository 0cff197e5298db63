package web_test

import (
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"latchkey/web/webtest"
)

// picture is a PNG of so many pixels each way.
func picture(t testing.TB, size int) []byte {
	t.Helper()
	img := image.NewNRGBA(image.Rect(0, 0, size, size*2/3))
	for x := range size {
		for y := range size * 2 / 3 {
			img.Set(x, y, color.NRGBA{uint8(60 + 150*x/size), uint8(140 + 60*y/size), 200, 255})
		}
	}
	var buf bytes.Buffer
	if err := png.Encode(&buf, img); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// onDisk writes files for a person to choose.
func onDisk(t testing.TB, files map[string][]byte) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for name, body := range files {
		if err := os.WriteFile(filepath.Join(dir, name), body, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func noise(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(b)
	return b
}

// since is a moment of today's conversation.
func since(seconds int) time.Time { return time.Now().Add(time.Duration(seconds-2000) * time.Second) }

// keeps waits until the page's browser keeps just what is still to be sent, by text or name.
func keeps(tab *webtest.Tab, want ...string) {
	slices.Sort(want)
	tab.Until(func() (bool, string) {
		kept := webtest.Read[string](tab, `new Promise((done) => { const o = indexedDB.open("latchkey"); o.onsuccess = () => { const a = o.result.transaction("outbox").objectStore("outbox").getAll();
			a.onsuccess = () => { o.result.close(); done(a.result.map((e) => e.text + (e.failed ? " failed" : "")).sort().join("\n")); }; }; })`)
		return kept == strings.Join(want, "\n"), fmt.Sprintf("kept are %q, want %q", kept, want)
	})
}

// drag drops a file of JavaScript's making onto the page, or pastes it.
const drag = `(() => {
	const d = new DataTransfer();
	d.items.add(new File(["dragged along"], "%s", { type: "text/plain" }));
	const e = "%s" === "paste" ? new ClipboardEvent("paste", { clipboardData: d, bubbles: true, cancelable: true }) : new DragEvent("%[2]s", { dataTransfer: d, bubbles: true, cancelable: true });
	document.querySelector("#text").dispatchEvent(e);
	return e.defaultPrevented;
})()`

// R33, X5: files are chosen, looked at once more, and sent with the next press; each shows how far it has come.
func TestFilesAreSent(t *testing.T) {
	t.Parallel()
	for _, size := range []webtest.Size{webtest.Desktop, webtest.Phone} {
		t.Run(size.Name, func(t *testing.T) {
			t.Parallel()
			g := newGateway(t).alone()
			dir := onDisk(t, map[string][]byte{"Grüße 'an' alle.png": picture(t, 300), "notes.pdf": noise(50_000)})
			tab := enter(t, g, webtest.Options{Size: size})
			if camera := tab.Count("#camera"); camera == 1 != size.Phone {
				t.Errorf("%d buttons for the camera on a %s", camera, size.Name)
			}
			tab.Choose("#files", filepath.Join(dir, "Grüße 'an' alle.png"), filepath.Join(dir, "notes.pdf"))
			tab.AwaitCount("#tray .chip", 2)
			tab.AwaitCount("#tray canvas", 1) // a preview, of the file itself
			if got := g.has(alice); len(got) != 0 {
				t.Fatalf("choosing sends %q", got)
			}
			if size.Phone {
				tab.Shot("guest-tray-" + size.Name)
			}
			tab.Type("#text", "two files")
			tab.Click("#send")
			tab.AwaitCount("#log .mine[data-state=accepted]", 3)
			if got := g.has(alice); !slices.Equal(got, []string{fmt.Sprintf("Grüße 'an' alle.png %d accepted", len(picture(t, 300))), "notes.pdf 50000 accepted"}) {
				t.Errorf("the gateway has %q", got)
			}
			g.do(func() { g.add(event{Type: "delivery", File: &file{ID: "file-1", State: "displayed"}}) })
			tab.Await(`#log .mine[data-state=displayed]`, "notes.pdf")
			tab.Click("#log .picture")
			tab.Await("#viewer", "Download Grüße")
			tab.Until(func() (bool, string) {
				w := webtest.Read[int](tab, `document.querySelector("#picture").naturalWidth`)
				return w == 300, fmt.Sprintf("the picture is %d wide", w)
			})
			tab.Click("#picture-close")
			tab.AwaitCount("#viewer", 0)

			// Dropped and pasted ones, one of which is taken out again.
			for i, how := range []string{"drop", "paste"} {
				if size.Phone && how == "drop" {
					continue
				}
				if how == "drop" {
					webtest.Eval[bool](tab, fmt.Sprintf(drag, "x", "dragover"))
					tab.Await("#drop", "Drop files here")
				}
				if !webtest.Eval[bool](tab, fmt.Sprintf(drag, how+".txt", how)) {
					t.Errorf("the browser takes the file of %s for itself", how)
				}
				tab.Await("#tray .chip", how+".txt")
				tab.AwaitCount("#drop", 0)
				if i == 0 {
					tab.Click("#tray .chip button")
					tab.AwaitCount("#tray", 0)
				}
			}
			tab.Click("#send")
			tab.Await("#log", "paste.txt")
			g.is("the pasted one", func() bool { n := len(g.files[alice]); return n == 3 && g.files[alice][2].State == "accepted" })
			// After a reload they are there, and nothing is sent again.
			tab.Reload()
			tab.AwaitCount("#log .mine", 4)
			tab.Await("#log .mine[data-state=displayed]", "notes.pdf")
			if got := g.has(alice); len(got) != 3 {
				t.Errorf("the gateway has %q", got)
			}
		})
	}
}

// F51: the page declares the hash of a file that it can hold (RFC 9530), and sends on where it can't: where the file is long, or the page came over
// plain HTTP and so has no crypto.subtle, which the test takes from it.
func TestFilesAreDeclared(t *testing.T) {
	t.Parallel()
	g := newGateway(t).alone()
	files := map[string][]byte{"notes.pdf": noise(50_000), "film.mp4": noise(32<<20 + 1), "plain.pdf": noise(60_000), "empty.txt": nil}
	dir := onDisk(t, files)
	tab := enter(t, g, webtest.Options{})
	sum := sha1.Sum(files["notes.pdf"])
	for i, c := range []struct{ name, digest string }{
		{"notes.pdf", "sha=:" + base64.StdEncoding.EncodeToString(sum[:]) + ":"}, {"film.mp4", ""}, {"empty.txt", ""}, {"plain.pdf", ""},
	} {
		if c.name == "plain.pdf" {
			webtest.Eval[bool](tab, `Object.defineProperty(crypto, "subtle", { value: undefined }), true`)
		}
		tab.Choose("#files", filepath.Join(dir, c.name))
		tab.Click("#send")
		tab.AwaitCount("#log .mine[data-state=accepted]", i+1)
		g.is(c.name+" as it is", func() bool {
			f := g.files[alice][i]
			return f.digest == c.digest && bytes.Equal(f.body, files[c.name])
		})
	}
}

// R33, X4: an upload that is cut goes on where it was, one that lasts shows how far it is and can be cancelled, and texts
// don't wait for it.
func TestUploadsSurviveCutsAndCanBeCancelled(t *testing.T) {
	t.Parallel()
	g := newGateway(t).alone()
	g.cuts, g.slow = 1, make(chan struct{})
	const size = 4 << 20
	dir := onDisk(t, map[string][]byte{"film.mp4": noise(size), "wrong.zip": noise(size)})
	tab := enter(t, g, webtest.Options{})
	tab.Choose("#files", filepath.Join(dir, "film.mp4"))
	tab.Click("#send")
	tab.Until(func() (bool, string) {
		part := webtest.Read[float64](tab, `document.querySelector("#log progress")?.value ?? 0`)
		return part > 0.3, fmt.Sprintf("progress is %v", part)
	})
	tab.Type("#text", "meanwhile\n")
	tab.Await("#log .mine[data-state=accepted]", "meanwhile")
	g.do(func() { close(g.slow); g.slow = nil })
	tab.Await("#log .mine[data-state=accepted]", "film.mp4")
	whole := noise(size)
	g.is("the whole file, in two pieces", func() bool {
		f := g.files[alice][0]
		return len(g.files[alice]) == 1 && bytes.Equal(f.body, whole) && slices.Equal(g.resumed, []int{0, size / 2})
	})

	g.do(func() { g.slow = make(chan struct{}) })
	tab.Choose("#files", filepath.Join(dir, "wrong.zip"))
	tab.Click("#send")
	tab.Click("#log .mine[data-state=sending] .acts button")
	tab.AwaitCount("#log .mine", 2)
	g.is("the upload taken back", func() bool { n := len(g.files[alice]); return n == 1 || g.files[alice][1].State == "failed" })
	keeps(tab, "")
	tab.Reload()
	tab.Await("#log", "film.mp4")
	if shown := tab.Shown("#log .mine[data-state=sending]"); shown != "" {
		t.Errorf("still sending %q", shown)
	}
}

// R33: a refusal says why, and the file can be sent again or forgotten.
func TestRefusedFileSaysWhy(t *testing.T) {
	t.Parallel()
	g := newGateway(t).alone()
	dir := onDisk(t, map[string][]byte{"big.bin": noise(1000)})
	tab := enter(t, g, webtest.Options{})
	g.do(func() { g.refusing = problem(413, "too-large", "Too large", "a file may have 999 bytes") })
	tab.Choose("#files", filepath.Join(dir, "big.bin"))
	tab.Click("#send")
	tab.Await("#log .mine[data-state=failed]", "Not delivered: a file may have 999 bytes")
	keeps(tab, "big.bin failed")
	tab.Reload() // kept with its file
	tab.Await("#log .mine[data-state=failed]", "Not delivered: a file may have 999 bytes")
	g.do(func() { g.refusing = nil })
	tab.Click("#log .acts button")
	tab.Await("#log .mine[data-state=accepted]", "big.bin")
	if got := g.has(alice); !slices.Equal(got, []string{"big.bin 1000 accepted"}) {
		t.Errorf("the gateway has %q", got)
	}
}

// R33, S6: an inviter's file is shown, by a small picture where there is one, and is saved by a press. What can't be had says so.
func TestInvitersFilesAreShown(t *testing.T) {
	t.Parallel()
	g := newGateway(t)
	tab := enter(t, g, webtest.Options{})
	tab.Await("#talk-name", "Alice")
	g.gives(alice, file{ID: "f1", Name: "beach.png", Type: "image/png", Preview: true, body: picture(t, 200)})
	g.gives(alice, file{ID: "f2", Name: "<b>evil</b>.html", Type: "text/html", body: []byte("<script>1</script>")})
	tab.Await("#log .message:not(.mine)", "beach.png")
	tab.AwaitCount("#log .picture img", 1)
	g.is("both read", func() bool {
		return slices.Equal(slices.Sorted(slices.Values(g.read)), []string{"f1", "f2"})
	})
	if got := webtest.Read[string](tab, `[...document.querySelectorAll("#log a")].map((a) => a.download + " " + new URL(a.href).pathname).join(",")`); got != "beach.png /rcsgw/invitee/file/f1,<b>evil</b>.html /rcsgw/invitee/file/f2" {
		t.Errorf("the links are %s", got)
	}
	g.do(func() {
		g.add(event{Type: "file", From: alice, File: &file{ID: "f3", Name: "lost.doc", State: "failed", Reason: "Its server is gone."}})
	})
	tab.Await("#log .message[data-state=failed]", "This file couldn’t be had. Its server is gone.")
	// Robin's invitation is not for files.
	tab.Click(`[data-uri="sip:robin@cc.com"]`)
	tab.AwaitCount("#attach", 0)
	webtest.Eval[bool](tab, fmt.Sprintf(drag, "x.txt", "drop"))
	tab.Await("#toast", "isn’t for files")
}

// History of messages and files reaches back differently far; together they are shown without a gap.
func TestHistoryOfBothKindsHasNoGap(t *testing.T) {
	t.Parallel()
	g := newGateway(t).alone()
	for i := range 60 {
		g.talks[alice] = append(g.talks[alice], message{ID: fmt.Sprint("m", i), From: alice, Text: fmt.Sprintf("line %d.", i), State: "displayed", Time: since(i * 10)})
		if i%20 == 5 {
			g.files[alice] = append(g.files[alice], &file{ID: fmt.Sprint("f", i), From: alice, Name: fmt.Sprintf("file %d.", i), State: "displayed", Time: since(i*10 + 5)})
		}
	}
	tab := enter(t, g, webtest.Options{})
	tab.Await("#log", "line 59.")
	tab.AwaitCount("#log .message", 52) // 50 messages, and the files among them
	if strings.Contains(tab.Shown("#log"), "file 5.") {
		t.Error("a file stands above messages that are missing")
	}
	tab.Click("#older")
	tab.AwaitCount("#log .message", 63)
	if order := webtest.Eval[string](tab, `[...document.querySelectorAll("#log .text, #log .file-name")].map((e) => e.textContent).slice(4, 8).join()`); order != "line 4.,line 5.,file 5.,line 6." {
		t.Errorf("in the order %s", order)
	}
}

// X8, X5: who never wanted this stops it without opening the chat; a press too many does nothing.
func TestOptOutNeedsNoLogin(t *testing.T) {
	t.Parallel()
	g := newGateway(t)
	tab := chromium.Open(t, webtest.Options{Size: webtest.Phone})
	tab.Go(g.link("#"))
	tab.Click("#not-me")
	tab.Await("#stopping", "nobody can invite you here again")
	tab.Click("#stop-not")
	tab.AwaitCount("#stopping", 0)
	tab.Click("#not-me")
	g.do(func() { g.down = true })
	tab.Click("#stop-go")
	tab.Await("#stopping-error", "There is no connection")
	g.do(func() {
		g.down = false
		if g.stopped != 0 {
			t.Error("stopped though nothing arrived")
		}
	})
	tab.Click("#stop-go")
	tab.Await("#door-title", "You won’t be invited again")
	g.is("one opt-out and no login", func() bool { return g.stopped == 1 && g.cookie == "" })
}

// R32, S2: who says that they have the stand-alone client is offered the whole link for it, or a file without the password, and after that without being
// asked; where no client answers, the page says how to go on.
func TestLinkIsHandedToTheApp(t *testing.T) {
	t.Parallel()
	g := newGateway(t)
	tab := chromium.Open(t, webtest.Options{})
	tab.Before(`const make = URL.createObjectURL; URL.createObjectURL = (b) => { b.text().then((text) => { window.saved = text; }); return make(b); };
		HTMLAnchorElement.prototype.click = function () { window.name = this.download; };
		navigation.addEventListener("navigate", (e) => { window.given = e.destination.url; });`)
	tab.Go(g.link("?"))
	tab.Await("#door-button:enabled", "Open chat")
	tab.AwaitCount("#app, #app-file", 0)
	tab.Click("#have-app")
	tab.AwaitCount("#have-app", 0)
	tab.Click("#app-file:enabled")
	tab.Await("#app-note", "It holds no password")
	tab.Until(func() (bool, string) {
		saved := webtest.Read[string](tab, `window.saved + " as " + window.name`)
		return saved == `{"latchkey":1,"link":"`+g.URL+`/rcsgw/invitee/session/`+account+`"} as chat.latchkey`, "saved is " + saved
	})
	tab.Go(g.link("?"))
	tab.Click("#app:enabled")
	tab.Await("#app-note", "No app has answered")
	asked := webtest.Eval[string](tab, "window.given")
	if want := "latchkey:" + g.URL + "/rcsgw/invitee/session/sip:b_at_cc.com@guest.example#passwd=PASS-Word%2B1%2F2"; asked != want {
		t.Errorf("the app is given %q, want %q", asked, want)
	}
	if kept := webtest.Read[string](tab, "JSON.stringify(localStorage) + JSON.stringify(sessionStorage) + document.documentElement.outerHTML"); strings.Contains(kept, "PASS-Word") {
		t.Errorf("the password is kept in %s", kept)
	}
	webtest.Eval[any](tab, `document.querySelector("#door-button").click()`) // the browser's own question is in the mouse's way
	tab.Await("#talk-name", "Alice")

	telephone := chromium.Open(t, webtest.Options{Size: webtest.Phone})
	telephone.Go(g.link("?"))
	telephone.Await("#not-me:enabled", "This isn’t for me")
	telephone.AwaitCount("#app, #app-file, #have-app", 0)
}

// F21, R29, R30: what a dead link says depends on what this browser went through with it.
func TestDeadLinkSaysWhatHappened(t *testing.T) {
	t.Parallel()
	g := newGateway(t).alone()
	tab := enter(t, g, webtest.Options{})
	tab.Click("#leave")
	tab.Click("#go")
	tab.Await("#door-title", "The chat has ended")
	g.do(func() { g.refuse = problem(410, "expired", "The invitation is no longer valid", "") })
	tab.Go(g.link("?"))
	tab.Click("#door-button:enabled")
	tab.Await("#door-title", "This link was used up")
	tab.Await("#door-text", "ask for a new invitation")

	g = newGateway(t).alone()
	tab = enter(t, g, webtest.Options{})
	g.post(event{Type: "session", State: "ended", Reason: "withdrawn"})
	tab.Await("#door-title", "The chat has ended")
	g.do(func() { g.refuse = problem(401, "unauthorized", "Wrong or missing credentials", "") })
	tab.Go(g.link("?"))
	tab.Click("#door-button:enabled")
	tab.Await("#door-title", "This invitation was ended")
}

// X4: what waits survives a reload, even one without a network, and is sent once.
func TestOutboxSurvivesReload(t *testing.T) {
	t.Parallel()
	g := newGateway(t).alone()
	tab := enter(t, g, webtest.Options{})
	webtest.Eval[any](tab, "navigator.serviceWorker.ready.then(() => {})")
	tab.Reload()
	tab.Await("#talk-name", "Alice")
	dir := onDisk(t, map[string][]byte{"kept.txt": []byte("kept")})
	g.do(func() { g.refusing = problem(503, "busy", "Busy", "") })
	tab.Type("#text", "before the reload\n")
	tab.Choose("#files", filepath.Join(dir, "kept.txt"))
	tab.Click("#send")
	tab.AwaitCount("#log .mine[data-state=sending]", 2)
	keeps(tab, "before the reload", "kept.txt")
	// The shell comes from the worker; nothing else does.
	g.do(func() { g.down, g.away = true, true })
	tab.Reload()
	tab.Await("#door-title", "The chat can’t be reached")
	kept := webtest.Eval[string](tab, `caches.keys().then((names) => Promise.all(names.map((n) => caches.open(n)))).then((all) => Promise.all(all.map((c) => c.keys()))).then((k) => k.flat().map((r) => new URL(r.url).pathname).join("\n"))`)
	for path := range strings.Lines(kept) {
		if path = strings.TrimSpace(path); !strings.HasPrefix(path, "/rcsgw/app/") && path != "/rcsgw/invitee/session/-" {
			t.Errorf("the worker keeps %s", path)
		}
	}
	if !strings.Contains(kept, "/page.js") {
		t.Errorf("the worker keeps only %q", kept)
	}
	g.do(func() { g.down, g.away, g.refusing = false, false, nil })
	tab.Click("#door-button")
	tab.AwaitCount("#log .mine[data-state=accepted]", 2)
	if sent, has := g.sent(alice), g.has(alice); !slices.Equal(sent, []string{"before the reload"}) || !slices.Equal(has, []string{"kept.txt 4 accepted"}) {
		t.Errorf("the gateway has %q and %q", sent, has)
	}
	tab.Reload()
	tab.AwaitCount("#log .mine", 2)
	// Leaving erases what this browser kept.
	g.do(func() { g.refusing = problem(413, "too-large", "Too large", "no") })
	tab.Type("#text", "refused\n")
	tab.Await("#log .mine[data-state=failed]", "refused")
	tab.Click("#leave")
	tab.Click("#go")
	tab.Await("#door-title", "The chat has ended")
	keeps(tab, "")
}

// X5: notifications are asked for by a press only, and come only while nobody looks.
func TestNotificationsAreAskedForByAPress(t *testing.T) {
	t.Parallel()
	g := newGateway(t).alone()
	tab := chromium.Open(t, webtest.Options{})
	tab.Go(g.link("?"))
	webtest.Eval[any](tab, `void (Notification.requestPermission = () => { window.asked = (window.asked || 0) + 1; return Promise.resolve("granted"); },
		Object.defineProperty(Notification, "permission", { get: () => (window.asked ? "granted" : "default") }),
		window.told = [], ServiceWorkerRegistration.prototype.showNotification = (title, o) => { told.push(title + ": " + o.body); })`)
	tab.Click("#door-button")
	tab.Await("#talk-name", "Alice")
	tab.AwaitCount("#bell", 1)
	if webtest.Eval[bool](tab, `"asked" in window`) {
		t.Error("asked before the bell was pressed")
	}
	tab.Click("#bell")
	tab.Await("#toast", "You will be told")
	tab.AwaitCount("#bell", 0)
	webtest.Eval[any](tab, "navigator.serviceWorker.ready.then(() => {})")
	g.say(alice, "in-1", "seen at once")
	tab.Await("#log", "seen at once")
	webtest.Eval[any](tab, `void Object.defineProperty(document, "hidden", { get: () => true })`)
	g.say(alice, "in-2", "while away")
	tab.Until(func() (bool, string) {
		told := webtest.Eval[string](tab, "told.join()")
		return told == "Alice: while away", "told is " + told
	})
	g.do(func() {
		if slices.Contains(g.read, "in-2") {
			t.Error("read though nobody looks")
		}
	})
}

// X5: two browsers of the same guest show the same conversation.
func TestTwoBrowsersShowTheSame(t *testing.T) {
	t.Parallel()
	g := newGateway(t).alone()
	desk := enter(t, g, webtest.Options{})
	phone := chromium.Open(t, webtest.Options{Size: webtest.Phone, Beside: desk})
	phone.Go(g.URL + "/rcsgw/invitee/session/" + account)
	phone.Await("#talk-name", "Alice")
	desk.Type("#text", "from the desk\n")
	desk.Await("#log .mine[data-state=accepted]", "from the desk")
	g.move(alice, "delivered", "")
	phone.Await("#log .mine[data-state=delivered]", "from the desk")
	phone.Type("#text", "from the phone")
	phone.Click("#send")
	phone.Await("#log .mine[data-state=accepted]", "from the phone")
	g.move(alice, "displayed", "")
	desk.Await("#log .mine[data-state=displayed]", "from the phone")
	g.say(alice, "in-1", "to both")
	for _, tab := range []*webtest.Tab{desk, phone} {
		tab.Await("#log", "to both")
		tab.AwaitCount("#log .message", 3)
	}
}

// S2: the cookie is all that opens the chat later; the password is in no storage, no cache, no address and no element.
func TestNothingKeepsThePassword(t *testing.T) {
	t.Parallel()
	g := newGateway(t).alone()
	tab := enter(t, g, webtest.Options{})
	webtest.Eval[any](tab, "navigator.serviceWorker.ready.then(() => {})")
	tab.Type("#text", "hello\n")
	tab.Await("#log .mine[data-state=accepted]", "hello")
	for _, where := range []string{
		"JSON.stringify(localStorage) + JSON.stringify(sessionStorage) + JSON.stringify(history.state) + location.href + document.referrer + document.documentElement.outerHTML",
		`caches.keys().then((names) => Promise.all(names.map((n) => caches.open(n)))).then((all) => Promise.all(all.map((c) => c.keys()))).then((k) => k.flat().map((r) => r.url).join())`,
		"performance.getEntries().slice(1).map((e) => e.name).join()", "Object.keys(window).map((k) => typeof window[k] === 'string' ? window[k] : '').join()",
	} {
		if got := webtest.Read[string](tab, where); strings.Contains(got, "PASS-Word") {
			t.Errorf("the password is in %s: %s", where, got)
		}
	}
	for _, r := range tab.Requests()[1:] {
		if strings.Contains(r, "PASS-Word") || strings.Contains(r, "passwd") {
			t.Errorf("the page asks %s", r)
		}
	}
}
