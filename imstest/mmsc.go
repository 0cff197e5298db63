package imstest

import (
	"encoding/base64"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net"
	"net/http"
	"regexp"
	"slices"
	"sync"
	"time"
)

// MMS is a multimedia message that an MMSC took.
type MMS struct {
	To, Subject, Text string
	Picture           []byte
	PictureType       string
	Time              time.Time
}

// MMSC is a multimedia message centre that keeps what it gets by MM7 (TS 23.140 §10).
type MMSC struct {
	srv  *http.Server
	addr string

	mu    sync.Mutex
	taken []MMS
}

var (
	mm7Transaction = regexp.MustCompile(`TransactionID[^>]*>([^<]*)<`)
	mm7Recipient   = regexp.MustCompile(`<To><Number>([^<]*)<`)
	mm7Subject     = regexp.MustCompile(`<Subject>([^<]*)<`)
)

// NewMMSC starts a centre on a free port of 127.0.0.1.
func NewMMSC() (*MMSC, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	m := &MMSC{addr: ln.Addr().String()}
	m.srv = &http.Server{Handler: m, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = m.srv.Serve(ln) }() // ends with Close
	return m, nil
}

// Addr is host:port of the centre.
func (m *MMSC) Addr() string { return m.addr }

// Close stops the centre.
func (m *MMSC) Close() { _ = m.srv.Close() }

// Taken lists what was taken, oldest first.
func (m *MMSC) Taken() []MMS {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.taken)
}

// ServeHTTP takes a SubmitReq: SOAP with the message's parts attached.
func (m *MMSC) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	const space = "http://www.3gpp.org/ftp/Specs/archive/23_series/23.140/schema/REL-6-MM7-1-4"
	_, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	outer := multipart.NewReader(io.LimitReader(r.Body, 10<<20), params["boundary"])
	first, err := outer.NextPart()
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	xml, _ := io.ReadAll(first)
	got := MMS{To: submatch(mm7Recipient, string(xml)), Subject: submatch(mm7Subject, string(xml)), Time: time.Now().UTC()}
	if second, err := outer.NextPart(); err == nil {
		_, params, _ = mime.ParseMediaType(second.Header.Get("Content-Type"))
		for inner := multipart.NewReader(second, params["boundary"]); ; {
			p, err := inner.NextPart()
			if err != nil {
				break
			}
			content, _ := io.ReadAll(base64.NewDecoder(base64.StdEncoding, p))
			switch kind := mediaType(p.Header.Get("Content-Type")); kind {
			case "text/plain":
				got.Text = string(content)
			case "image/png", "image/jpeg", "image/gif":
				got.Picture, got.PictureType = content, kind
			}
		}
	}
	m.mu.Lock()
	m.taken = append(m.taken, got)
	n := len(m.taken)
	m.mu.Unlock()
	w.Header().Set("Content-Type", "text/xml")
	fmt.Fprintf(w, `<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/"><e:Header><TransactionID xmlns="%s">%s</TransactionID></e:Header><e:Body><SubmitRsp xmlns="%[1]s"><MM7Version>6.8.0</MM7Version><Status><StatusCode>1000</StatusCode><StatusText>Success</StatusText></Status><MessageID>mms-%[3]d</MessageID></SubmitRsp></e:Body></e:Envelope>`,
		space, submatch(mm7Transaction, string(xml)), n)
}
