package httpapi

import (
	"bytes"
	"context"
	"crypto/md5"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"latchkey"
	"latchkey/files"
	"latchkey/internal/limit"
	"latchkey/storage"
	"latchkey/storage/storagetest"
)

// depot is a vault of uploads as the facade needs it.
type depot struct {
	shelf
	rows storage.Deposits
}

func (d depot) Transfer(ctx context.Context, inviter latchkey.InviterID, tid string) (latchkey.StoredFile, error) {
	return d.rows.Transfer(ctx, inviter, tid)
}

// contentWorld is a world with a content server.
func contentWorld(t *testing.T, opt files.Options) *world {
	t.Helper()
	w := newWorld(t, Options{ContentURL: "https://ft.example/up/"})
	db := storagetest.Open(t, storage.Options{})
	opt.PublicURL = func() string { return "https://chat.example" }
	place, err := files.NewDisk(filepath.Join(t.TempDir(), "files"))
	if err != nil {
		t.Fatal(err)
	}
	v := files.Open(place, db.Deposits(), opt)
	t.Cleanup(func() { _ = v.Close() })
	w.api.ports.Files, w.api.ports.Uploads = shelf{v}, depot{shelf{v}, db.Deposits()}
	return w
}

// phone sends one request of Alice's phone.
func (w *world) phone(method, target string, body io.Reader, fields ...string) response {
	w.t.Helper()
	r := httptest.NewRequest(method, target, body)
	r.SetBasicAuth(aliceURI, alicePwd)
	for i := 0; i < len(fields); i += 2 {
		if fields[i] == "X-Test-User" {
			r.SetBasicAuth(fields[i+1], alicePwd)
			continue
		}
		r.Header.Set(fields[i], fields[i+1])
	}
	rec := httptest.NewRecorder()
	w.handler().ServeHTTP(rec, r)
	return response{w.t, rec.Code, rec.Header(), rec.Body.String()}
}

// depositBody is a form with its type; without a length nothing is said of it.
func depositBody(tid, content string, length bool) (body, contentType string) {
	var b bytes.Buffer
	form := multipart.NewWriter(&b)
	if tid != "" {
		_ = form.WriteField("TID", tid)
	}
	h := map[string][]string{"Content-Disposition": {`form-data; name="file"; filename="a.txt"`}, "Content-Type": {"text/plain"}}
	if length {
		h["Content-Length"] = []string{fmt.Sprint(len(content))}
	}
	part, _ := form.CreatePart(h)
	_, _ = io.WriteString(part, content)
	_ = form.Close()
	return b.String(), form.FormDataContentType()
}

// B3.13: whatever may pass is 503 with Retry-After, the one status after which phones come again; what may not keeps its own.
func TestPhonesAreToldWhenToComeAgain(t *testing.T) {
	w := contentWorld(t, files.Options{})
	for kind, status := range map[latchkey.Kind]int{
		latchkey.KindTooManyRequests: 503, latchkey.KindBusy: 503, latchkey.KindNoSpace: 503, latchkey.KindUnavailable: 503, latchkey.KindDirectoryFailed: 503,
		latchkey.KindDirectoryTimeout: 503, latchkey.KindTooLarge: 413, latchkey.KindNotAllowed: 403, latchkey.KindBadRequest: 400, latchkey.KindInternal: 500,
	} {
		h := w.api.forPhone(func(http.ResponseWriter, *http.Request, latchkey.Subscriber) error { return latchkey.Errorf(kind, "x") })
		r := httptest.NewRequest("POST", contentPath, nil)
		r.SetBasicAuth(aliceURI, alicePwd)
		err := h(httptest.NewRecorder(), r)
		if got := latchkey.KindOf(err).Row().HTTP; got != status || status == 503 && latchkey.RetryAfter(err) <= 0 {
			t.Errorf("%s: %d with Retry-After %v, want %d", kind, got, latchkey.RetryAfter(err), status)
		}
	}
	w.api.uploads.most = 0
	body, contentType := depositBody("t", "hello", true)
	res := w.phone("POST", contentPath, strings.NewReader(body), "Content-Type", contentType)
	if res.wants(503); res.header.Get("Retry-After") != "10" {
		t.Errorf("Retry-After %q", res.header.Get("Retry-After"))
	}
	w.phone("PUT", contentPath+"/"+w.cutOff("u", "0123456789", 4), strings.NewReader("456789"), "Content-Range", "bytes 4-9/10").wants(503)
	if n := metrics(t, w)[`latchkey_httpapi_limits_total{limit="uploads"}`]; n != "2" {
		t.Errorf("%s uploads over the limit are counted, want 2", n)
	}
}

// B3.13: a form whose file names no length is taken as it comes; a part that is shorter or longer than it says is none.
func TestFormsOfUploads(t *testing.T) {
	w := contentWorld(t, files.Options{MaxSize: 1000})
	for _, c := range []struct {
		name, edit, with string
		length           bool
		status           int
	}{
		{"as it should be", "", "", true, 200},
		{"without a length", "", "", false, 200},
		{"longer than it says", "Content-Length: 5", "Content-Length: 4", true, 400},
		{"shorter than it says", "Content-Length: 5", "Content-Length: 6", true, 400},
		{"longer than allowed, as it says", "Content-Length: 5", "Content-Length: 1001", true, 413},
		{"no file", `name="file"`, `name="other"`, true, 400},
		{"a tid of control characters", "tid-", "\x01", true, 400},
		{"a tid that is too long", "tid-", strings.Repeat("x", 129), true, 400},
	} {
		body, contentType := depositBody("tid-"+c.name, "hello", c.length)
		if c.edit != "" {
			body = strings.Replace(body, c.edit, c.with, 1)
		}
		res := w.phone("POST", contentPath, strings.NewReader(body), "Content-Type", contentType)
		if res.status != c.status || c.status == 200 && (res.header.Get("Content-Type") != "application/vnd.gsma.rcs-ft-http+xml" || !strings.Contains(res.body, `<data url="https://chat.example/rcsgw/file/`)) {
			t.Errorf("%s: %d %s", c.name, res.status, res.body)
		}
	}
	long := strings.Repeat("x", 1001)
	body, contentType := depositBody("long", long, false)
	w.phone("POST", contentPath, strings.NewReader(body), "Content-Type", contentType).wants(413)
	w.phone("GET", contentPath+"?tid=long&get_upload_info", nil).wants(404)
	w.phone("POST", contentPath, strings.NewReader(body), "Content-Type", "multipart/form-data").wants(400)
}

// cutOff begins an upload that breaks off after n octets, and gives its id.
func (w *world) cutOff(tid, content string, n int) (id string) {
	w.t.Helper()
	most := w.api.uploads.most
	w.api.uploads.most = 1
	defer func() { w.api.uploads.most = most }()
	body, contentType := depositBody(tid, content, false)
	w.phone("POST", contentPath, strings.NewReader(body[:strings.Index(body, content)+n]), "Content-Type", contentType).wants(400)
	_, address, _ := strings.Cut(w.phone("GET", contentPath+"?tid="+tid+"&get_upload_info", nil).wants(200).body, `<data url="https://ft.example/up/`)
	id, _, _ = strings.Cut(address, `"`)
	return id
}

// B3.13: the content server refuses as it documents, whichever request it is; who names somebody else uploads nothing, and a gateway without a content
// server has nothing there.
func TestContentServerRefusesAsDocumented(t *testing.T) {
	w := contentWorld(t, files.Options{MaxSize: 1000})
	form, contentType := depositBody("t", "hello", true)
	for _, c := range []struct {
		method, path, body string
		fields             []string
		status             int
	}{
		{"POST", "", form, []string{"Content-Type", contentType}, 200},
		{"POST", "", strings.Replace(strings.Replace(form, "hello", "hello!", 1), "Length: 5", "Length: 6", 1), []string{"Content-Type", contentType}, 409},
		{"POST", "", form, []string{"Content-Type", "text/plain"}, 415},
		{"POST", "", form, []string{"Content-Type", contentType, "Content-Encoding", "gzip"}, 415},
		{"GET", "?get_upload_info", "", nil, 400},
		{"GET", "?tid=t", "", nil, 400},
		{"GET", "?tid=t&get_upload_info&get_download_info", "", nil, 400},
		{"PUT", "/" + w.cutOff("u", "0123456789", 4), "456789", []string{"Content-Range", "bytes 4-9/10", "Content-Encoding", "gzip"}, 415},
		{"PUT", "/" + w.cutOff("v", "0123456789", 4), "456789", []string{"Content-Range", "bytes 4-9/1001"}, 413},
	} {
		if res := w.phone(c.method, contentPath+c.path, strings.NewReader(c.body), c.fields...); res.status != c.status {
			t.Errorf("%s %s: %d %s, want %d", c.method, c.path, res.status, res.body, c.status)
		}
	}
	for _, method := range []string{"POST", "GET", "PUT"} {
		path := contentPath + map[string]string{"GET": "?tid=t&get_download_info", "PUT": "/x"}[method]
		w.phone(method, path, nil, "X-3GPP-Intended-Identity", `"sip:r@cc.com"`).wants(403)
		w.phone(method, path, nil, "Authorization", "").wants(401)
		plain := newWorld(t, Options{})
		plain.phone(method, path, nil).wants(404)
	}
}

// B3.13, F53: a phone that comes anew while its broken connection still looks alive takes the upload over, and the old request hears so.
func TestUploadIsTakenOverByTheNewerRequest(t *testing.T) {
	w := contentWorld(t, files.Options{})
	id := w.cutOff("t", "0123456789", 4)
	s := w.serve()
	put := func(body io.Reader) (status int) {
		r, err := http.NewRequestWithContext(t.Context(), "PUT", s.URL+contentPath+"/"+id, body)
		if err != nil {
			t.Error(err)
			return 0
		}
		r.SetBasicAuth(aliceURI, alicePwd)
		r.Header.Set("Content-Range", "bytes 4-9/10")
		res, err := s.Client().Do(r)
		if err != nil {
			t.Error(err)
			return 0
		}
		defer res.Body.Close()
		return res.StatusCode
	}
	r, half := io.Pipe()
	defer half.Close()
	older := make(chan int, 1)
	go func() { older <- put(r) }() // ends when it is taken over
	if _, err := io.WriteString(half, "45"); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool {
		return strings.Contains(w.phone("GET", contentPath+"?tid=t&get_upload_info", nil).body, `end="5"`)
	})
	if status := put(strings.NewReader("456789")); status != 200 {
		t.Errorf("the newer is answered %d", status)
	}
	if status := <-older; status != 409 {
		t.Errorf("the older is answered %d, want 409", status)
	}
}

// B3.13, F53: what PUT says of its place decides what is taken of it.
func TestRestOfAnUpload(t *testing.T) {
	w := contentWorld(t, files.Options{})
	content := "0123456789"
	for _, c := range []struct {
		span, body string
		status     int
		end        string // of what is here then; "": it is whole
	}{
		{"bytes 4-9/10", "456789", 200, ""},
		{"4-9/10", "456789", 200, ""},
		{"bytes 2-9/10", "23456789", 200, ""}, // what comes twice is passed over
		{"bytes 4-9/*", "456789", 200, ""},
		{"bytes 4-6/10", "456", 200, "6"}, // more is to come
		{"bytes 5-9/10", "56789", 416, "3"},
		{"bytes 4-9/11", "456789", 400, "3"}, // another file
		{"bytes 4-9/10", "4567", 200, "7"},
		{"bytes 2-9/10", "2", 400, "3"}, // ends before what is new
		{"bytes 4-9/10", "4567890", 400, ""},
		{"", "456789", 400, "3"},
		{"bytes 9-4/10", "456789", 400, "3"},
	} {
		tid := latchkey.NewToken()
		body, contentType := depositBody(tid, content, true)
		cut := strings.Index(body, content) + 4
		w.phone("POST", contentPath, strings.NewReader(body[:cut]), "Content-Type", contentType).wants(400)
		info := w.phone("GET", contentPath+"?tid="+tid+"&get_upload_info", nil).wants(200).body
		_, address, _ := strings.Cut(info, `<data url="https://ft.example/up/`)
		id, _, _ := strings.Cut(address, `"`)
		if !strings.Contains(info, `<file-range start="0" end="3">`) || id == "" {
			t.Fatalf("info %s", info)
		}
		w.phone("GET", contentPath+"?tid="+tid+"&get_download_info", nil).wants(404)
		var fields []string
		if c.span != "" {
			fields = []string{"Content-Range", c.span}
		}
		w.phone("PUT", contentPath+"/"+id, strings.NewReader("xxxxxx"), "Content-Range", "bytes 4-9/10", "X-Test-User", carolURI).wants(404) // it is Alice's
		res := w.phone("PUT", contentPath+"/"+id, strings.NewReader(c.body), fields...)
		if res.status != c.status {
			t.Errorf("PUT %q of %q: %d %s", c.span, c.body, res.status, res.body)
		}
		after := w.phone("GET", contentPath+"?tid="+tid+"&get_upload_info", nil)
		switch {
		case c.end != "":
			if !strings.Contains(after.body, `end="`+c.end+`"`) {
				t.Errorf("after PUT %q of %q: %d %s, want %s", c.span, c.body, after.status, after.body, c.end)
			}
		case c.status == 200:
			document := w.phone("GET", contentPath+"?tid="+tid+"&get_download_info", nil).wants(200).body
			_, key, _ := strings.Cut(document, "https://chat.example")
			key, _, _ = strings.Cut(key, `"`)
			if got := w.phone("GET", key, nil).wants(200).body; got != content {
				t.Errorf("after PUT %q of %q the file is %q", c.span, c.body, got)
			}
			if res := w.phone("PUT", contentPath+"/"+id, strings.NewReader("789"), "Content-Range", "bytes 7-9/10").wants(200); !strings.Contains(res.body, "<file-size>10<") {
				t.Errorf("the last PUT again: %s", res.body)
			}
		default:
			after.wants(404) // nothing of it is kept
		}
	}
}

// FuzzContentRange: what is read is a place within a file.
func FuzzContentRange(f *testing.F) {
	for _, s := range []string{"bytes 0-9/10", "4-9/10", "bytes 4-9/*", "bytes */10", "Bytes 1-1/2", "bytes 9-4/10", "bytes 1-10/10", "items 1-2/3", "", "bytes -1-2/3", "bytes 18446744073709551615-2/3"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		start, total, err := contentRange(s)
		if err == nil && (start < 0 || total < latchkey.UnknownSize || total >= 0 && start >= total) {
			t.Errorf("%q is %d of %d", s, start, total)
		}
	})
}

// FuzzDepositForm: a form is a file with what is known of it, within limits, or an error.
func FuzzDepositForm(f *testing.F) {
	body, contentType := depositBody("t", "hello", true)
	_, boundary, _ := strings.Cut(contentType, "boundary=")
	body = strings.ReplaceAll(body, boundary, "b")
	f.Add(body)
	f.Add(strings.Replace(body, "filename=\"a.txt\"", "filename*=UTF-8''%e2%82%ac", 1))
	f.Add(strings.TrimSuffix(body, "--\r\n"))
	f.Add(strings.Replace(body, `name="file"`, `name="Thumbnail"`, 1))
	f.Add("--b--\r\n")
	f.Fuzz(func(t *testing.T, s string) {
		in := depositForm{form: multipart.NewReader(strings.NewReader(s), "b"), size: latchkey.UnknownSize}
		err := in.readTo(true)
		if (err == nil) != (in.file != nil) || in.size < latchkey.UnknownSize || len(in.tid) > 128 || len(in.thumb) > maxThumbnail {
			t.Fatalf("%+v, %v", in, err)
		}
		if err == nil {
			n, _ := io.Copy(io.Discard, in.file)
			if _ = in.readTo(false); n > int64(len(s)) {
				t.Fatalf("%d octets of %d", n, len(s))
			}
		}
	})
}

// RFC 7616 §3.9.1 gives the answers for both algorithms.
func TestDigestIsAsTheSpecificationCounts(t *testing.T) {
	p := digestParams(`Digest username="Mufasa", realm="http-auth@example.org", uri="/dir/index.html", algorithm=MD5, nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", ` +
		`nc=00000001, cnonce="f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ", qop=auth, response="8ca523f5e9506fed4657c9700eebdbec", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"`)
	for i, want := range []string{"753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1", "8ca523f5e9506fed4657c9700eebdbec"} {
		alg := algorithms[i]
		d := alg.new()
		d.Write([]byte("Mufasa:http-auth@example.org:Circle of Life"))
		if got := digestResponse(alg.new, fmt.Sprintf("%x", d.Sum(nil)), "GET", p); got != want {
			t.Errorf("%s: %s, want %s", alg.name, got, want)
		}
	}
}

// digesting is a directory that can check Digest.
type digesting struct{ Directory }

func (digesting) Digest(_ context.Context, user, algorithm string) (latchkey.Subscriber, string, error) {
	if user != aliceURI || algorithm != "MD5" {
		return latchkey.Subscriber{}, "", latchkey.Errorf(latchkey.KindUnauthorized, "")
	}
	return latchkey.Subscriber{URI: latchkey.MustAddress(aliceURI)}, fmt.Sprintf("%x", md5.Sum([]byte(aliceURI+":latchkey:"+alicePwd))), nil
}

// RFC 7616 §3.3, §3.4: an answer counts for one of our challenges, for a while, for the request that it names, and not in other words; one that came late is told
// so, and only one that was right.
func TestDigestAnswersForItsRequestAndItsTime(t *testing.T) {
	w := contentWorld(t, files.Options{})
	w.api.opt.DigestUploads, w.api.ports.Directory = true, digesting{w.dir}
	fresh, old, foreign := w.api.nonces.make(time.Now()), w.api.nonces.make(time.Now().Add(-time.Hour)), newNonces().make(time.Now())
	type edit func(p map[string]string)
	for name, c := range map[string]struct {
		edit   edit
		status int
		stale  bool
	}{
		"as it should be":          {func(map[string]string) {}, 204, false},
		"as the phone knows it":    {func(p map[string]string) { p["uri"] = "/up" }, 204, false},
		"without qop":              {func(p map[string]string) { p["qop"] = "" }, 204, false},
		"another path":             {func(p map[string]string) { p["uri"] = "/rcsgw/other" }, 401, false},
		"another query":            {func(p map[string]string) { p["uri"] = contentPath + "?tid=x" }, 401, false},
		"late":                     {func(p map[string]string) { p["nonce"] = old }, 401, true},
		"late and wrong":           {func(p map[string]string) { p["nonce"], p["password"] = old, "x" }, 401, false},
		"another server's":         {func(p map[string]string) { p["nonce"] = foreign }, 401, false},
		"no nonce":                 {func(p map[string]string) { p["nonce"] = "AAAA" }, 401, false},
		"another realm":            {func(p map[string]string) { p["realm"] = "x" }, 401, false},
		"another method":           {func(p map[string]string) { p["method"] = "GET" }, 401, false},
		"a wrong password":         {func(p map[string]string) { p["password"] = "x" }, 401, false},
		"nobody":                   {func(p map[string]string) { p["username"] = "sip:x@cc.com" }, 401, false},
		"an algorithm without sum": {func(p map[string]string) { p["algorithm"] = "SHA-256" }, 401, false},
		"qop auth-int":             {func(p map[string]string) { p["qop"] = "auth-int" }, 401, false},
	} {
		p := map[string]string{"username": aliceURI, "realm": "latchkey", "nonce": fresh, "uri": contentPath, "qop": "auth", "method": "POST", "password": alicePwd, "algorithm": "MD5"}
		c.edit(p)
		h := func(s string) string { return fmt.Sprintf("%x", md5.Sum([]byte(s))) }
		a1, a2 := h(p["username"]+":"+p["realm"]+":"+p["password"]), h(p["method"]+":"+p["uri"])
		answer, more := h(a1+":"+p["nonce"]+":"+a2), ""
		if p["qop"] != "" {
			answer, more = h(a1+":"+p["nonce"]+":00000001:c:"+p["qop"]+":"+a2), ", nc=00000001, cnonce=c, qop="+p["qop"]
		}
		res := w.phone("POST", contentPath, nil, "Authorization", fmt.Sprintf(`Digest username="%s", realm="%s", nonce="%s", uri="%s", algorithm=%s, response="%s"%s`,
			p["username"], p["realm"], p["nonce"], p["uri"], p["algorithm"], answer, more))
		all := res.header.Values("WWW-Authenticate")
		if res.status != c.status || c.status == 401 && (len(all) != 2 || !strings.Contains(all[0], "SHA-256") || !strings.Contains(all[1], "MD5") || strings.Contains(all[1], "stale=true") != c.stale) {
			t.Errorf("%s: %d, challenges %q", name, res.status, all)
		}
	}
	if res := w.phone("POST", contentPath, nil); res.status != 401 {
		t.Errorf("Basic: %d", res.status)
	}
}

// F05, S4: a time-limited name is as many names as there are seconds; guesses at them are counted together.
func TestGuessesAtLimitedNamesAreCountedTogether(t *testing.T) {
	w := contentWorld(t, files.Options{})
	w.api.opt.DigestUploads, w.api.ports.Directory, w.api.opt.Guard = true, digesting{w.dir}, limit.NewGuard(limit.Limits{Pair: 3, Place: 1000, Account: 1000})
	var got []int
	for i, name := range []string{"1:a@cc.com", "20:a@cc.com", "300:sip:a@cc.com", "4000:a@cc.com", aliceURI, "5:c@cc.com"} {
		got = append(got, w.phone("POST", contentPath, nil, "Authorization", fmt.Sprintf(`Digest username="%s", realm="latchkey", nonce="%s", uri="%s", algorithm=MD5, response="%032x"`,
			name, w.api.nonces.make(time.Now()), contentPath, i)).status)
	}
	if !slices.Equal(got, []int{401, 401, 401, 503, 503, 401}) {
		t.Errorf("answers %v", got)
	}
}

// FuzzDigestParams: what is read has each name once, or is nothing.
func FuzzDigestParams(f *testing.F) {
	for _, s := range []string{`Digest username="a\"b", realm=x`, `digest a="1",b=2`, `Digest a=1,a=2`, `Digest ,`, `Basic x`, `Digest a="x, y", uri="/?b=c"`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for name := range digestParams(s) {
			if name != strings.ToLower(strings.TrimSpace(name)) {
				t.Errorf("%q has a field %q", s, name)
			}
		}
	})
}
