package httpapi

import (
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"mime/multipart"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"latchkey"
	"latchkey/files"
	"latchkey/storage"
	"latchkey/storage/storagetest"
)

// shelf is a vault as the facade needs it.
type shelf struct{ *files.Vault }

func (s shelf) Create(ctx context.Context, f latchkey.StoredFile) (Upload, latchkey.StoredFile, bool, error) {
	w, stored, repeated, err := s.Vault.Create(ctx, f)
	if w == nil {
		return nil, stored, repeated, err
	}
	return w, stored, repeated, err
}

func (s shelf) Resume(ctx context.Context, id latchkey.FileID) (Upload, error) {
	w, err := s.Vault.Resume(ctx, id)
	if err != nil {
		return nil, err
	}
	return w, nil
}

func (s shelf) Open(ctx context.Context, f latchkey.StoredFile) (io.ReadSeekCloser, error) {
	r, err := s.Vault.Open(ctx, f)
	if err != nil {
		return nil, err
	}
	return r, nil
}

// filesWorld is a world whose files are kept by the real room. Alice has invited the guest for files; Carol has for messages.
func filesWorld(t *testing.T, opt files.Options) *world {
	t.Helper()
	w := newWorld(t, Options{})
	db := storagetest.Open(t, storage.Options{})
	w.desk.relations[0].Interactions = []latchkey.Interaction{latchkey.IM, latchkey.File}
	w.desk.relations = append(w.desk.relations, relation(carolURI, "Carol"))
	for _, rel := range w.desk.relations {
		rel.State = latchkey.Asked
		if _, _, err := db.Ask(t.Context(), latchkey.Guest{Account: account, Identifier: latchkey.Identifier{Kind: latchkey.Mail, Value: "b@cc.com"}}, rel); err != nil {
			t.Fatal(err)
		}
		rel.State = latchkey.Live
		if err := db.Settle(t.Context(), rel, latchkey.NewToken(), "h", latchkey.Notice{ID: latchkey.NewToken(), Relation: rel.ID, Channel: latchkey.ByMail}); err != nil {
			t.Fatal(err)
		}
	}
	place, err := files.NewDisk(filepath.Join(t.TempDir(), "files"))
	if err != nil {
		t.Fatal(err)
	}
	v := files.Open(place, db, opt)
	t.Cleanup(func() { _ = v.Close() })
	w.api.ports.Files = shelf{v}
	return w
}

func (w *world) vault() *files.Vault { return w.api.ports.Files.(shelf).Vault }

// arrives is a file of Alice's, complete.
func (w *world) arrives(name, contentType, content string) latchkey.StoredFile {
	w.t.Helper()
	rel := w.desk.relations[0]
	up, _, _, err := w.vault().Create(w.t.Context(), latchkey.StoredFile{Relation: rel.ID, Account: account, Inviter: rel.Inviter, Direction: latchkey.ToGuest, Name: name, Type: contentType, Size: int64(len(content))})
	if err == nil {
		_, err = io.WriteString(up, content)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	f, err := up.Commit(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return f
}

const toAlice = filePath + "?to=sip:a@cc.com"

func named(name string) change { return header("Content-Disposition", name) }

func form(t *testing.T, build func(*multipart.Writer)) (body string, as change) {
	t.Helper()
	var b bytes.Buffer
	m := multipart.NewWriter(&b)
	build(m)
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String(), header("Content-Type", m.FormDataContentType())
}

func part(t *testing.T, m *multipart.Writer, disposition, contentType, content string) {
	t.Helper()
	p, err := m.CreatePart(textproto.MIMEHeader{"Content-Disposition": {disposition}, "Content-Type": {contentType}})
	if err == nil {
		_, err = io.WriteString(p, content)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// R33: a file goes up as body or form, under the name that its sender gave, made safe; it is on its way when 202 comes.
func TestFileGoesUpAsBodyOrForm(t *testing.T) {
	w := filesWorld(t, files.Options{})
	sum := func(s string) string { h := sha1.Sum([]byte(s)); return hex.EncodeToString(h[:]) }
	simple, asForm := form(t, func(m *multipart.Writer) {
		part(t, m, `form-data; name="note"`, "text/plain", "not the file")
		part(t, m, `form-data; name="to"`, "text/plain", " sip:a@cc.com\r\n")
		part(t, m, `form-data; name="whatever"; filename="f/o/r/m.png"`, "image/png", "form")
		part(t, m, `form-data; name="after"; filename="second"`, "image/png", "not looked at")
	})
	for _, c := range []struct {
		path, body string
		as         []change
		name, kind string
		content    string
	}{
		{toAlice, "raw", []change{header("Content-Type", "image/png"), named(`attachment; filename="a b.png"`)}, "a b.png", "image/png", "raw"},
		{toAlice, "raw", []change{header("Content-Type", "Text/Plain; charset=utf-8"), named(`attachment; filename="x.txt"; filename*=UTF-8''Gr%C3%BC%C3%9Fe%20%F0%9F%98%80.txt`)}, "Grüße 😀.txt", "text/plain", "raw"},
		{toAlice, "raw", []change{header("Content-Type", "x/y"), named(`inline; filename="..\\..\\evil.exe"`)}, "evil.exe", "x/y", "raw"},
		{toAlice + "&name=q.bin", "<raw>", []change{header("Content-Type", "application/xml"), header("Accept", "application/json")}, "q.bin", "application/xml", "<raw>"},
		{toAlice, "", nil, "file", "application/octet-stream", ""},
		{filePath, simple, []change{asForm}, "m.png", "image/png", "form"},
	} {
		before := len(w.hall.noted())
		r := w.do("POST", c.path, c.body, append([]change{asGuest}, c.as...)...)
		if r.status != 202 {
			t.Fatalf("%s %q: %d %s\n%s", c.path, c.name, r.status, r.body, w.log.String())
		}
		var got file
		r.into(&got)
		if got.Name != c.name || got.Type != c.kind || got.Size != int64(len(c.content)) || got.State != latchkey.FileAccepted || got.To != aliceURI || got.SHA1 != sum(c.content) || got.ID == "" {
			t.Errorf("%s: %s", c.path, r.body)
		}
		if calls := w.hall.noted(); len(calls) != before+1 || calls[before] != fmt.Sprintf("file %s to %s", got.ID, aliceURI) {
			t.Errorf("calls %v", calls)
		}
		if d := w.do("GET", filePath+"/"+string(got.ID), "", asGuest).wants(200); d.body != c.content {
			t.Errorf("what comes back is %q", d.body)
		}
	}
}

// R31: only whom the guest may send files to gets any, and nothing stays of what was refused.
func TestUploadsAreRefused(t *testing.T) {
	w := filesWorld(t, files.Options{MaxSize: 1000, Quota: 1500})
	raw := header("Content-Type", "image/png")
	w.do("POST", toAlice, "x", raw).problem(latchkey.KindUnauthorized)
	w.do("POST", toAlice, "x", asAlice, raw).problem(latchkey.KindUnauthorized)
	w.do("POST", filePath, "x", asGuest, raw).problem(latchkey.KindBadRequest)
	w.do("POST", filePath+"?to=sip:x@cc.com", "x", asGuest, raw).problem(latchkey.KindNoRelation)
	w.do("POST", filePath+"?to="+carolURI, "x", asGuest, raw).problem(latchkey.KindNoRelation)
	w.do("POST", toAlice, "x", asGuest, raw, header("Content-Encoding", "gzip")).problem(latchkey.KindUnsupportedMedia)
	w.do("POST", toAlice, "x", asGuest, header("Content-Type", "image")).wants(202)
	w.do("POST", toAlice, "x", asGuest, header("Content-Type", ";")).problem(latchkey.KindUnsupportedMedia)
	w.do("POST", toAlice, "x", asGuest, raw, header("Accept", "text/css")).problem(latchkey.KindNotAcceptable)
	w.do("POST", toAlice, strings.Repeat("x", 1001), asGuest, raw).problem(latchkey.KindTooLarge)
	w.do("POST", toAlice, strings.Repeat("x", 1001), asGuest, raw, func(r *http.Request) { r.ContentLength = -1 }).problem(latchkey.KindTooLarge)
	w.do("POST", toAlice+"&id="+strings.Repeat("1", 129), "x", asGuest, raw).problem(latchkey.KindBadRequest)
	empty, asForm := form(t, func(m *multipart.Writer) { part(t, m, `form-data; name="file"`, "image/png", "no file name") })
	w.do("POST", toAlice, empty, asGuest, asForm).problem(latchkey.KindBadRequest)
	w.do("POST", toAlice, "no form", asGuest, asForm).problem(latchkey.KindBadRequest)
	whole, asForm := form(t, func(m *multipart.Writer) {
		part(t, m, `form-data; name="f"; filename="x"`, "image/png", strings.Repeat("x", 500))
	})
	w.do("POST", toAlice, whole[:len(whole)-100], asGuest, asForm).problem(latchkey.KindBadRequest)
	w.do("POST", toAlice, whole, asGuest, asForm, header("Upload-Complete", "?1")).problem(latchkey.KindBadRequest)
	cookie := w.login()
	w.do("POST", toAlice, "x", raw, page(cookie), header("Sec-Fetch-Site", "cross-site")).problem(latchkey.KindNotAllowed)
	w.do("POST", toAlice, "x", raw, page(cookie), func(r *http.Request) { r.Header.Del(clientHeader) }).problem(latchkey.KindNotAllowed)
	w.do("POST", toAlice, "x", raw, page(cookie)).wants(202)
	w.do("POST", toAlice, strings.Repeat("x", 999), asGuest, raw).wants(202)
	if r := w.do("POST", toAlice, strings.Repeat("x", 600), asGuest, raw).problem(latchkey.KindQuota); r.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	var list struct{ Files []file }
	w.do("GET", filePath+"?with="+aliceURI, "", asGuest).wants(200).into(&list)
	if len(list.Files) != 3 {
		t.Errorf("%d files are kept, want 3: %v", len(list.Files), list.Files)
	}
	w.do("GET", filePath+"?with=sip:x@cc.com", "", asGuest).problem(latchkey.KindNoRelation)
}

// F29: the same id is the same file, with the same answer; another file under it is a conflict.
func TestRepeatedFileIsSentOnce(t *testing.T) {
	w := filesWorld(t, files.Options{})
	raw := header("Content-Type", "image/png")
	first := w.do("POST", toAlice+"&id=7", "x", asGuest, raw).wants(202)
	for what, r := range map[string]response{
		"id":              w.do("POST", toAlice+"&id=7", "x", asGuest, raw),
		"Idempotency-Key": w.do("POST", toAlice, "x", asGuest, raw, header("Idempotency-Key", `"7"`)),
	} {
		if r.status != 200 || r.body != first.body {
			t.Errorf("a repeat by %s: %d %s, want 200 %s", what, r.status, r.body, first.body)
		}
	}
	w.do("POST", toAlice+"&id=7", "xy", asGuest, raw).problem(latchkey.KindConflict)
	if calls := w.hall.noted(); len(calls) != 1 {
		t.Errorf("calls %v", calls)
	}
}

// S6, R33: a download is saved, never shown; it has ranges and a validator, and it is nobody's but the guest's.
func TestDownloadIsSavedAndRanged(t *testing.T) {
	w := filesWorld(t, files.Options{})
	f := w.arrives("<Grüße> \"x\".svg", "image/svg+xml", "<svg onload='alert(1)'/>")
	path := filePath + "/" + string(f.ID)
	r := w.do("GET", path, "", asGuest).wants(200)
	for name, want := range map[string]string{
		"Content-Type": "image/svg+xml", "X-Content-Type-Options": "nosniff", "Content-Security-Policy": filePolicy, "Accept-Ranges": "bytes", "Content-Length": "24",
		"Content-Disposition": `attachment; filename="_Gr__e_ _x_.svg"; filename*=UTF-8''_Gr%C3%BC%C3%9Fe_%20_x_.svg`, "ETag": `"` + string(f.ID) + `"`, "Cache-Control": "no-store",
	} {
		if got := r.header.Get(name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	if !strings.HasPrefix(filePolicy, "sandbox;") {
		t.Errorf("policy %q", filePolicy)
	}
	for _, c := range []struct {
		rng, ifRange string
		status       int
		body         string
	}{
		{"bytes=0-3", "", 206, "<svg"}, {"bytes=20-", "", 206, ")'/>"}, {"bytes=-2", "", 206, "/>"}, {"bytes=24-", "", 416, ""},
		{"bytes=20-", r.header.Get("ETag"), 206, ")'/>"}, {"bytes=20-", `"other"`, 200, r.body},
	} {
		as := []change{asGuest, header("Range", c.rng)}
		if c.ifRange != "" {
			as = append(as, header("If-Range", c.ifRange))
		}
		if got := w.do("GET", path, "", as...); got.status != c.status || c.status != 416 && got.body != c.body {
			t.Errorf("Range %s If-Range %s: %d %q", c.rng, c.ifRange, got.status, got.body)
		}
	}
	if h := w.do("HEAD", path, "", asGuest).wants(200); h.body != "" || h.header.Get("Content-Length") != "24" {
		t.Errorf("HEAD has %q, %v", h.body, h.header)
	}
	w.do("GET", path, "", asGuest, header("If-None-Match", r.header.Get("ETag"))).wants(304)
	w.do("GET", path, "").problem(latchkey.KindUnauthorized)
	w.do("GET", filePath+"/"+string(latchkey.NewFileID()), "", asGuest).problem(latchkey.KindNotFound)
	w.do("GET", filePath+"/x", "", asGuest).problem(latchkey.KindNotFound)
	w.do("GET", path+"?preview=1", "", asGuest).problem(latchkey.KindNotFound)
	w.do("PUT", path, "x", asGuest).problem(latchkey.KindMethodNotAllowed)

	// Another guest's is as if it weren't there, by any method.
	theirs := f
	theirs.ID, theirs.Account = latchkey.NewFileID(), "sip:other@guest.example"
	w.api.ports.Files = foreign{w.api.ports.Files, theirs}
	for _, method := range []string{"GET", "HEAD", "DELETE", "PATCH"} {
		if r := w.do(method, filePath+"/"+string(theirs.ID), "", asGuest); r.status != 404 {
			t.Errorf("%s of another guest's file: %d", method, r.status)
		}
	}
}

// foreign knows one more file.
type foreign struct {
	Files
	f latchkey.StoredFile
}

func (f foreign) Find(ctx context.Context, id latchkey.FileID) (latchkey.StoredFile, error) {
	if id == f.f.ID {
		return f.f, nil
	}
	return f.Files.Find(ctx, id)
}

// F52: the inviter's phone fetches with the key alone, in ranges; the log does not have the key; a file that is over is 410.
func TestInviterFetchesWithTheKeyAlone(t *testing.T) {
	w := filesWorld(t, files.Options{})
	var got file
	w.do("POST", toAlice+"&name=a.txt", "abcdef", asGuest, header("Content-Type", "text/plain")).wants(202).into(&got)
	f, err := w.vault().Find(t.Context(), got.ID)
	if err != nil {
		t.Fatal(err)
	}
	path := "/rcsgw/file/" + f.Key.Reveal()
	if r := w.do("GET", path, "", header("Range", "bytes=2-3")); r.status != 206 || r.body != "cd" || !strings.HasPrefix(r.header.Get("Content-Disposition"), "attachment;") || r.header.Get("Content-Type") != "text/plain" {
		t.Errorf("%d %q %v", r.status, r.body, r.header)
	}
	w.do("GET", path+"/preview", "").problem(latchkey.KindNotFound)
	w.do("GET", "/rcsgw/file/"+string(f.ID), "").problem(latchkey.KindNotFound)
	w.do("DELETE", path, "").problem(latchkey.KindMethodNotAllowed)
	if log := w.log.String(); strings.Contains(log, f.Key.Reveal()) || !strings.Contains(log, "/rcsgw/file/***") {
		t.Errorf("the log has the key: %s", log)
	}
	w.do("DELETE", filePath+"/"+string(f.ID), "", asGuest).wants(204)
	w.do("DELETE", filePath+"/"+string(f.ID), "", asGuest).wants(204)
	w.do("GET", path, "").problem(latchkey.KindExpired)
	w.do("GET", filePath+"/"+string(f.ID), "", asGuest).problem(latchkey.KindExpired)
	if calls := w.hall.noted(); calls[len(calls)-1] != "cancel "+string(f.ID)+" to "+aliceURI {
		t.Errorf("calls %v", calls)
	}
}

// X3: an upload goes on behind what came, after the connection broke in its middle.
func TestUploadIsResumedAfterACut(t *testing.T) {
	w := filesWorld(t, files.Options{})
	s := w.serve()
	body := make([]byte, 3<<20)
	_, _ = rand.NewChaCha8([32]byte{7}).Read(body)
	location, known := "", make(chan struct{})
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
		if code == 104 {
			location = h.Get("Location")
			close(known)
		}
		return nil
	}})
	cut := errors.New("cut")
	req, err := http.NewRequestWithContext(ctx, "POST", s.URL+toAlice, io.MultiReader(bytes.NewReader(body[:1<<20]), failing{known, cut}))
	if err != nil {
		t.Fatal(err)
	}
	asGuest(req)
	req.ContentLength = int64(len(body))
	req.Header.Set("Content-Type", "image/png")
	req.Header.Set("Upload-Complete", "?1")
	if res, err := http.DefaultClient.Do(req); !errors.Is(err, cut) {
		t.Fatalf("Do = %v, %v", res, err)
	}
	select {
	case <-known:
	default:
		t.Fatal("no 104 with a Location")
	}
	head := func() response { return w.do("HEAD", location, "", asGuest).wants(204) }
	// The server may still be at the bytes that the cut left in its buffers.
	eventually(t, func() bool { return !strings.HasPrefix(head().header.Get("Upload-Offset"), "0") && w.uploadsNow() == 0 })
	at := head()
	if at.header.Get("Upload-Complete") != "?0" || at.header.Get("Upload-Limit") != "max-size=104857600" {
		t.Errorf("HEAD: %v", at.header)
	}
	var offset int
	if _, err := fmt.Sscan(at.header.Get("Upload-Offset"), &offset); err != nil || offset <= 0 || offset > 1<<20 {
		t.Fatalf("Upload-Offset %q", at.header.Get("Upload-Offset"))
	}
	w.do("GET", location, "", asGuest).problem(latchkey.KindNotFound)
	patch := func(at int, complete, content string, more ...change) response {
		return w.do("PATCH", location, content, append([]change{asGuest, header("Content-Type", "application/partial-upload"), header("Upload-Offset", fmt.Sprint(at)), header("Upload-Complete", complete)}, more...)...)
	}
	if r := patch(offset+1, "?1", "x").wants(409); !strings.Contains(r.body, fmt.Sprintf(`"expected-offset":%d`, offset)) || !strings.Contains(r.body, "mismatching-upload-offset") {
		t.Errorf("409 %s", r.body)
	}
	patch(offset, "?1", "x", header("Content-Type", "image/png")).problem(latchkey.KindUnsupportedMedia)
	patch(offset, "1", "x").problem(latchkey.KindBadRequest)
	middle := offset + 1<<20
	if r := patch(offset, "?0", string(body[offset:middle])).wants(204); r.header.Get("Upload-Offset") != fmt.Sprint(middle) || r.header.Get("Upload-Complete") != "?0" {
		t.Errorf("PATCH: %v", r.header)
	}
	var got file
	r := patch(middle, "?1", string(body[middle:])).wants(202)
	r.into(&got)
	sum := sha1.Sum(body)
	if got.Size != int64(len(body)) || got.SHA1 != hex.EncodeToString(sum[:]) || got.State != latchkey.FileAccepted || r.header.Get("Upload-Complete") != "?1" {
		t.Errorf("PATCH: %s %v", r.body, r.header)
	}
	if h := w.do("HEAD", location, "", asGuest).wants(200); h.header.Get("Upload-Complete") != "?1" || h.header.Get("Upload-Offset") != fmt.Sprint(len(body)) {
		t.Errorf("HEAD of the complete file: %v", h.header)
	}
	if r := patch(len(body), "?1", "").wants(400); !strings.Contains(r.body, "completed-upload") {
		t.Errorf("PATCH of a complete file: %s", r.body)
	}
	if calls := w.hall.noted(); len(calls) != 1 {
		t.Errorf("calls %v", calls)
	}
}

// An upload in parts may begin with nothing at all, and is cancelled by DELETE.
func TestUploadInPartsMayBeCancelled(t *testing.T) {
	w := filesWorld(t, files.Options{MaxSize: 10})
	raw := header("Content-Type", "image/png")
	r := w.do("POST", toAlice, "", asGuest, raw, header("Upload-Complete", "?0"), header("Upload-Length", "10"))
	location := r.header.Get("Location")
	if location == "" || r.header.Get("Upload-Offset") != "0" || r.header.Get("Upload-Length") != "10" {
		t.Fatalf("POST: %d %v", r.status, r.header)
	}
	parts := []change{asGuest, header("Content-Type", "application/partial-upload")}
	w.do("PATCH", location, "12345678901", append(parts, header("Upload-Offset", "0"), header("Upload-Complete", "?0"))...).problem(latchkey.KindBadRequest)
	w.do("PATCH", location, "", append(parts, header("Upload-Offset", "0"), header("Upload-Complete", "?1"), header("Upload-Length", "9"))...).problem(latchkey.KindBadRequest)
	// Who lost the address finds it again by the id, and what came is there; who sends again from the beginning, begins again.
	begin := func(content, complete string) response {
		return w.do("POST", toAlice+"&id=9", content, asGuest, raw, header("Upload-Complete", complete), header("Upload-Length", "5"))
	}
	first := begin("123", "?0").wants(201)
	again := begin("", "?0").wants(201)
	if again.header.Get("Location") != first.header.Get("Location") || again.header.Get("Upload-Offset") != "3" {
		t.Errorf("POST again: %v, the first time %v", again.header, first.header)
	}
	if r := begin("abcde", "?1").wants(202); !strings.Contains(r.body, `"size":5`) {
		t.Errorf("POST from the beginning: %s", r.body)
	}
	begin("", "?0").wants(200)
	w.do("DELETE", location, "", asGuest).wants(204)
	w.do("PATCH", location, "1", append(parts, header("Upload-Offset", "0"), header("Upload-Complete", "?0"))...).wants(400)
	w.do("POST", toAlice, "", asGuest, raw, header("Upload-Complete", "?0"), header("Upload-Length", "11")).problem(latchkey.KindTooLarge)
	w.do("POST", toAlice, "", asGuest, raw, header("Upload-Complete", "?0"), header("Upload-Length", "-1")).problem(latchkey.KindBadRequest)
	if calls := w.hall.noted(); len(calls) != 2 || !strings.HasPrefix(calls[1], "cancel ") {
		t.Errorf("calls %v", calls)
	}
}

// failing is the end of a body that breaks after a while.
type failing struct {
	when <-chan struct{}
	err  error
}

func (f failing) Read([]byte) (int, error) {
	select {
	case <-f.when:
	case <-time.After(patience):
	}
	return 0, f.err
}

func (w *world) uploadsNow() int {
	w.api.uploads.mu.Lock()
	defer w.api.uploads.mu.Unlock()
	return len(w.api.uploads.now)
}

// A guest may send a few files at a time; a plain upload that is cut off leaves nothing, and its place is free.
func TestFewUploadsAtATime(t *testing.T) {
	w := filesWorld(t, files.Options{})
	s := w.serve()
	var open []net.Conn
	for range 4 {
		c, err := net.Dial("tcp", s.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		open = append(open, c)
		r := httptest.NewRequest("POST", toAlice, nil)
		asGuest(r)
		fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: %s\r\nContent-Type: image/png\r\nContent-Length: 100\r\n\r\nabc", toAlice, r.Header.Get("Authorization"))
	}
	eventually(t, func() bool {
		w.api.uploads.mu.Lock()
		defer w.api.uploads.mu.Unlock()
		return w.api.uploads.now[account] == 4
	})
	w.do("POST", toAlice, "x", asGuest, header("Content-Type", "image/png")).problem(latchkey.KindTooManyRequests)
	for _, c := range open {
		_ = c.Close()
	}
	eventually(t, func() bool { return w.uploadsNow() == 0 })
	w.do("POST", toAlice, "x", asGuest, header("Content-Type", "image/png")).wants(202)
	var list struct{ Files []file }
	w.do("GET", filePath+"?with="+aliceURI, "", asGuest).wants(200).into(&list)
	if len(list.Files) != 1 {
		t.Errorf("files %v", list.Files)
	}
}

// R33: no file is ever in memory, up or down, in a form or not.
func TestLargeFileCostsNoMemory(t *testing.T) {
	const size = largeFile
	w := filesWorld(t, files.Options{MaxSize: 1 << 30})
	s := w.serve()
	var before runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var peak atomic.Uint64
	stop := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() { // ends with stop
		var m runtime.MemStats
		for {
			runtime.ReadMemStats(&m)
			if m.HeapInuse > peak.Load() {
				peak.Store(m.HeapInuse)
			}
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	})
	pr, pw := io.Pipe()
	m := multipart.NewWriter(pw)
	go func() { // ends with the request
		p, err := m.CreateFormFile("file", "big.bin")
		if err == nil {
			_, err = io.CopyN(p, zeros{}, size)
		}
		if err == nil {
			err = m.Close()
		}
		_ = pw.CloseWithError(err)
	}()
	req, err := http.NewRequestWithContext(t.Context(), "POST", s.URL+toAlice, pr)
	if err != nil {
		t.Fatal(err)
	}
	asGuest(req)
	req.Header.Set("Content-Type", m.FormDataContentType())
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != 202 {
		t.Fatalf("%d %s %v", res.StatusCode, answer, err)
	}
	var got file
	response{t: t, body: string(answer)}.into(&got)
	req, err = http.NewRequestWithContext(t.Context(), "GET", s.URL+filePath+"/"+string(got.ID), nil)
	if err != nil {
		t.Fatal(err)
	}
	asGuest(req)
	down, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer down.Body.Close()
	if n, err := io.Copy(io.Discard, down.Body); err != nil || n != size || got.Size != size {
		t.Errorf("%d bytes came back, %v; the file has %d", n, err, got.Size)
	}
	close(stop)
	watching.Wait()
	if grown := int64(peak.Load()) - int64(before.HeapInuse); grown > 32<<20 { //nolint:gosec // far below
		t.Errorf("the heap grew by %d MiB", grown>>20)
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

var (
	anyID     = regexp.MustCompile(`[a-z2-9]{26}`)
	anyMoment = regexp.MustCompile(`20\d\d-[0-9T:.-]+Z`)
)

// R28: files in JSON and XML. The files are the facade's shape.
func TestFileAnswersAreAsWritten(t *testing.T) {
	w := filesWorld(t, files.Options{})
	w.arrives("from <a> & b.txt", "text/plain", "hi")
	for _, c := range []struct{ name, method, path, body string }{
		{"file", "POST", toAlice + "&id=1&name=x.png", "abc"},
		{"files", "GET", filePath + "?with=sip:a@cc.com", ""},
		{"no-file", "GET", filePath + "/x", ""},
	} {
		for _, f := range []string{"json", "xml"} {
			r := w.do(c.method, c.path, c.body, asGuest, header("Content-Type", "image/png"), header("Accept", "application/"+f))
			if c.name == "file" {
				r.status = 202 // the second is a repeat
			}
			text := anyMoment.ReplaceAllString(anyID.ReplaceAllString(r.body, "ID"), "TIME")
			golden(t, c.name+"."+f+".txt", fmt.Sprintf("%d %s\n\n%s\n", r.status, r.header.Get("Content-Type"), text))
		}
	}
}

// Whatever a name is, its header is one line that gives the name back.
func FuzzAttachment(f *testing.F) {
	for _, s := range []string{"a.txt", "Grüße 😀.txt", `q"\u`, "100%.pdf", "a;b=c", "'", "%41", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		name := files.CleanName(s)
		value := attachment(name)
		if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Errorf("attachment(%q) = %q", name, value)
		}
		if got := dispositionName(value); got != name && !strings.Contains(name, "=?") {
			t.Errorf("attachment(%q) gives back %q", name, got)
		}
	})
}

// R33, X3: a request whose context ends - another one goes on with its file - may have a client that still reads. It gets no answer, and
// not one of success that nobody gave.
func TestRequestThatIsGivenUpIsNoSuccess(t *testing.T) {
	w := filesWorld(t, files.Options{})
	s := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithCancel(r.Context())
		cancel()
		w.handler().ServeHTTP(out, r.WithContext(ctx))
	}))
	t.Cleanup(s.Close)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+filePath+"?with="+url.QueryEscape(aliceURI), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth(account, password)
	if res, err := s.Client().Do(req); err == nil {
		defer res.Body.Close()
		t.Errorf("answered %s, want the connection closed", res.Status)
	}
}
