package mm7_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"latchkey/notify/mm7"
)

// relay is a multimedia message centre that follows a script: it keeps the request and answers with the file.
type relay struct {
	*httptest.Server
	header http.Header
	body   []byte
}

func newRelay(t *testing.T, code int, contentType, answer string) *relay {
	t.Helper()
	r := &relay{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.header = req.Header
		r.body, _ = io.ReadAll(req.Body)
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(code)
		_, _ = io.WriteString(w, answer)
	}))
	t.Cleanup(r.Close)
	return r
}

func script(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

var message = mm7.Message{
	TransactionID: "vas00001-sub", To: "+8613900000001", Subject: "Ältere & <neue>", Text: "Alice invites you to chat:\nhttps://chat.example.com/?passwd=a&b=c\n",
	Picture: []byte("\x89PNG not really"), Expires: time.Date(2026, 12, 2, 12, 0, 0, 0, time.UTC),
}

// F03, B3.15: SubmitReq is an envelope with the elements of TS 23.140 §8.7.1 in the schema's order, and text and picture attached.
func TestSubmitReqIsWhatTheSchemaSays(t *testing.T) {
	r := newRelay(t, 200, "text/xml; charset=utf-8", script(t, "submit-rsp.xml"))
	c := mm7.Client{URL: r.URL + "/mms-rs/mm7", User: "Aladdin", Password: "open sesame", VASP: "TNN", VAS: "News", From: "12345"}
	id, err := c.Submit(t.Context(), message)
	if err != nil || id != "041502073667" {
		t.Fatalf("Submit = %q, %v", id, err)
	}
	if got := r.header.Get("Authorization"); got != "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==" || r.header.Get("SOAPAction") != `""` {
		t.Errorf("Authorization %q, SOAPAction %q", got, r.header.Get("SOAPAction"))
	}
	kind, params, err := mime.ParseMediaType(r.header.Get("Content-Type"))
	if err != nil || kind != "multipart/related" || params["type"] != "text/xml" {
		t.Fatalf("Content-Type %q, %v", r.header.Get("Content-Type"), err)
	}
	parts := multipart.NewReader(bytes.NewReader(r.body), params["boundary"])
	first, err := parts.NextPart()
	if err != nil || first.Header.Get("Content-Id") != params["start"] {
		t.Fatalf("first part %v, %v", first, err)
	}
	xml, _ := io.ReadAll(first)
	at := 0
	for _, want := range []string{
		`<env:Envelope xmlns:env="http://schemas.xmlsoap.org/soap/envelope/">`, `env:mustUnderstand="1">vas00001-sub</mm7:TransactionID>`,
		`<SubmitReq xmlns="http://www.3gpp.org/ftp/Specs/archive/23_series/23.140/schema/REL-6-MM7-1-4">`, "<MM7Version>6.8.0</MM7Version>",
		"<VASPID>TNN</VASPID><VASID>News</VASID><SenderAddress><ShortCode>12345</ShortCode></SenderAddress></SenderIdentification>",
		"<Recipients><To><Number>+8613900000001</Number></To></Recipients>", "<ExpiryDate>2026-12-02T12:00:00Z</ExpiryDate>", "<DeliveryReport>true</DeliveryReport>",
		"<Subject>Ältere &amp; &lt;neue&gt;</Subject>", `<Content href="cid:content"`,
	} {
		i := strings.Index(string(xml)[at:], want)
		if i < 0 {
			t.Fatalf("%s is missing, or before its place, in\n%s", want, xml)
		}
		at += i
	}
	second, err := parts.NextPart()
	if err != nil || second.Header.Get("Content-Id") != "<content>" {
		t.Fatalf("second part %v, %v", second, err)
	}
	_, params, _ = mime.ParseMediaType(second.Header.Get("Content-Type"))
	got := map[string]string{}
	for inner := multipart.NewReader(second, params["boundary"]); ; {
		p, err := inner.NextPart()
		if err != nil {
			break
		}
		content, err := io.ReadAll(base64.NewDecoder(base64.StdEncoding, p))
		if err != nil {
			t.Errorf("%s: %v", p.Header.Get("Content-Id"), err)
		}
		got[p.Header.Get("Content-Type")] = string(content)
	}
	if got["text/plain; charset=utf-8"] != message.Text || got["image/png"] != string(message.Picture) || !strings.Contains(got["application/smil; charset=utf-8"], `<text src="cid:text.txt"`) {
		t.Errorf("content %q", got)
	}
}

// F03, F19: each answer leads to an id or to a refusal with its code, or says that nothing is known.
func TestAnswersAreRead(t *testing.T) {
	for _, c := range []struct {
		file, contentType string
		code              int
		id                string
		refusal           mm7.Code
		permanent         bool
	}{
		{"submit-rsp.xml", "text/xml", 200, "041502073667", 0, false},
		{"submit-rsp-rel5.xml", "text/xml; charset=\"utf-8\"", 200, "041502073667", 0, false},
		{"submit-rsp-2003.xml", "text/xml", 200, "", 2003, true},
		{"submit-rsp-3001.xml", "text/xml", 200, "", 3001, false},
		{"fault-4002.xml", "text/xml", 500, "", 4002, false},
	} {
		r := newRelay(t, c.code, c.contentType, script(t, c.file))
		id, err := (&mm7.Client{URL: r.URL}).Submit(t.Context(), message)
		refusal, refused := errors.AsType[*mm7.Refusal](err)
		if id != c.id || refused != (c.refusal != 0) || refused && (refusal.Code != c.refusal || refusal.Code.Permanent() != c.permanent) {
			t.Errorf("%s: %q, %v", c.file, id, err)
		}
	}
	ok := script(t, "submit-rsp.xml")
	for name, answer := range map[string]struct {
		code              int
		contentType, text string
	}{
		"no XML":               {200, "text/html", "<html>busy</html>"},
		"broken XML":           {200, "text/xml", ok[:len(ok)-20]},
		"a document type":      {200, "text/xml", strings.Replace(ok, "<env:Envelope", "<!DOCTYPE x [<!ENTITY y \"z\">]><env:Envelope", 1)},
		"two documents":        {200, "text/xml", ok + ok[strings.Index(ok, "<env:Envelope"):]},
		"another transaction":  {200, "text/xml", strings.Replace(ok, "vas00001-sub", "vas00002-sub", 1)},
		"another namespace":    {200, "text/xml", strings.ReplaceAll(ok, "23.140/schema", "23.141/schema")},
		"no SOAP":              {200, "text/xml", strings.ReplaceAll(ok, "schemas.xmlsoap.org", "schemas.example.org")},
		"another answer":       {200, "text/xml", strings.ReplaceAll(ok, "SubmitRsp", "CancelRsp")},
		"no code":              {200, "text/xml", strings.Replace(ok, "1000", "", 1)},
		"an error beside XML":  {503, "text/xml", ok},
		"not let in":           {401, "text/plain", "no"},
		"more than is ever":    {200, "text/xml", ok + strings.Repeat(" ", 300<<10)},
		"an unknown entity":    {200, "text/xml", strings.Replace(ok, "Success", "&nbsp;", 1)},
		"a fault without word": {500, "text/xml", `<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/"><e:Body><e:Fault><faultstring>x</faultstring></e:Fault></e:Body></e:Envelope>`},
	} {
		r := newRelay(t, answer.code, answer.contentType, answer.text)
		id, err := (&mm7.Client{URL: r.URL}).Submit(t.Context(), message)
		if _, refused := errors.AsType[*mm7.Refusal](err); err == nil || refused || id != "" {
			t.Errorf("%s: %q, %v, want an error that is no refusal", name, id, err)
		}
	}
}

// F03: reports are taken as TS 23.140 §8.7.4 has them, and acknowledged under their transaction when they are safe.
func TestReportsAreAcknowledgedWhenTheyAreTaken(t *testing.T) {
	var got []mm7.Report
	var failure error
	h := mm7.Handler(func(_ context.Context, r mm7.Report) error { got = append(got, r); return failure }, slog.New(slog.DiscardHandler))
	post := func(method, contentType, text string) (int, string) {
		req := httptest.NewRequest(method, "/mm7", strings.NewReader(text))
		req.Header.Set("Content-Type", contentType)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, req)
		return w.Code, w.Body.String()
	}
	text := script(t, "delivery-report-req.xml")
	code, answer := post("POST", `text/xml; charset="utf-8"`, text)
	want := mm7.Report{MessageID: "041502073667", Recipient: "+8613900000001", Status: "Retrieved", Text: "Delivered to the terminal"}
	if len(got) != 1 || got[0] != want || !got[0].Delivered() || got[0].Failed() {
		t.Fatalf("reports %+v, want %+v", got, want)
	}
	if code != 200 || !strings.Contains(answer, "<DeliveryReportRsp") || !strings.Contains(answer, ">vas00324-dr</mm7:TransactionID>") || !strings.Contains(answer, "<StatusCode>1000</StatusCode>") {
		t.Errorf("answer %d %s", code, answer)
	}
	for status, failed := range map[string]bool{"Expired": true, "Rejected": true, "Indeterminate": false, "Forwarded": false} {
		post("POST", "text/xml", strings.Replace(text, "Retrieved", status, 1))
		if r := got[len(got)-1]; r.Status != status || r.Failed() != failed || r.Delivered() {
			t.Errorf("%s: %+v", status, r)
		}
	}
	failure = errors.New("disk full")
	if code, answer := post("POST", "text/xml", text); code != 200 || !strings.Contains(answer, "<StatusCode>3000</StatusCode>") || strings.Contains(answer, "disk") {
		t.Errorf("when it can't be kept: %d %s", code, answer)
	}
	failure = nil
	before := len(got)
	for name, c := range map[string]struct {
		method, contentType, text string
		code                      int
		want                      string
	}{
		"GET":            {"GET", "text/xml", "", 405, ""},
		"no XML":         {"POST", "application/json", "{}", 400, ""},
		"broken":         {"POST", "text/xml", text[:100], 500, "<StatusCode>4004</StatusCode>"},
		"no id":          {"POST", "text/xml", strings.Replace(text, "041502073667", "", 1), 500, "<StatusCode>4004</StatusCode>"},
		"a DTD":          {"POST", "text/xml", strings.Replace(text, "<env:Envelope", "<!DOCTYPE a><env:Envelope", 1), 500, "<StatusCode>4004</StatusCode>"},
		"something else": {"POST", "text/xml", strings.ReplaceAll(text, "DeliveryReportReq", "DeliverReq"), 500, "<StatusCode>4003</StatusCode>"},
		"read reply":     {"POST", "text/xml", strings.ReplaceAll(text, "DeliveryReportReq", "ReadReplyReq"), 200, "<ReadReplyRsp"},
	} {
		if code, answer := post(c.method, c.contentType, c.text); code != c.code || !strings.Contains(answer, c.want) {
			t.Errorf("%s: %d %s, want %d with %s", name, code, answer, c.code, c.want)
		}
	}
	if len(got) != before {
		t.Errorf("%d reports were made of what is none", len(got)-before)
	}
}

// FuzzAnswer: no panic; what is taken for an answer or a report has what it needs.
func FuzzAnswer(f *testing.F) {
	files, err := filepath.Glob("testdata/*.xml")
	if err != nil || len(files) < 5 {
		f.Fatalf("%d files, %v", len(files), err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text, "text/xml")
		f.Add([]byte("--b\r\nContent-Type: text/xml\r\n\r\n"+string(text)+"\r\n--b--\r\n"), "multipart/related; boundary=b")
	}
	f.Fuzz(func(t *testing.T, text []byte, contentType string) {
		taken := false
		h := mm7.Handler(func(_ context.Context, r mm7.Report) error {
			if taken = true; r.MessageID == "" || r.Status == "" {
				t.Errorf("a report without what it is about: %+v", r)
			}
			return nil
		}, slog.New(slog.DiscardHandler))
		req := httptest.NewRequest("POST", "/mm7", bytes.NewReader(text))
		req.Header.Set("Content-Type", contentType)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, req)
		if taken && w.Code != 200 {
			t.Errorf("a report that was taken is answered with %d", w.Code)
		}
		c := mm7.Client{URL: "http://mmsc.example/", HTTP: &http.Client{Transport: answers{contentType, text}}}
		_, _ = c.Submit(t.Context(), message)
	})
}

// answers is a transport that gives one answer.
type answers struct {
	contentType string
	text        []byte
}

func (a answers) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {a.contentType}}, Body: io.NopCloser(bytes.NewReader(a.text))}, nil
}

func Example() {
	centre := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/xml")
		text, _ := os.ReadFile("testdata/submit-rsp.xml")
		_, _ = w.Write(text)
	}))
	defer centre.Close()
	c := mm7.Client{URL: centre.URL, VASP: "TNN", VAS: "News"}
	fmt.Println(c.Submit(context.Background(), mm7.Message{TransactionID: "vas00001-sub", To: "+8613900000001", Text: "Hello"}))
	// Output: 041502073667 <nil>
}
