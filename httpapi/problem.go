package httpapi

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"

	"latchkey"
)

// Problem is an RFC 9457 problem document. The table in package latchkey fills it.
type Problem struct {
	XMLName xml.Name `json:"-" xml:"urn:ietf:rfc:7807 problem"` // RFC 9457 appendix B
	Type    string   `json:"type" xml:"type"`
	Title   string   `json:"title" xml:"title"`
	Status  int      `json:"status" xml:"status"`
	Detail  string   `json:"detail,omitempty" xml:"detail,omitempty"`
	// URI is B's address where B is a registered user (R10).
	URI string `json:"uri,omitempty" xml:"uri,omitempty"`
}

// problemOf is what a stranger may know of err: its kind and its public text.
func problemOf(err error) Problem {
	row := latchkey.KindOf(err).Row()
	p := Problem{Type: "/problems/" + row.Name, Title: row.Title, Status: row.HTTP}
	if e, ok := errors.AsType[*latchkey.Error](err); ok {
		p.Detail, p.URI = e.Public, e.URI
	}
	return p
}

// problem answers with err. It is the only place that turns a failure into a status code.
func (a *API) problem(w *recorder, r *http.Request, err error) {
	w.cause = err
	if w.status != 0 {
		return // too late to say it: the answer has begun
	}
	p := problemOf(err)
	switch {
	case p.Status == http.StatusRequestEntityTooLarge:
		a.tally.hit(maxBody)
	case latchkey.Is(err, latchkey.KindTooManyRequests) && !errors.Is(err, errHeld) && !errors.Is(err, errCrowded): // those are counted
		a.tally.hit(guesses)
	}
	h := w.Header()
	if wait := latchkey.RetryAfter(err); wait > 0 {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds())))) // RFC 9110 §10.2.3
	}
	if p.Status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", challenge(r))
		if a.opt.DigestUploads && strings.HasPrefix(r.URL.Path, contentPath) {
			a.challengeDigest(h, errors.Is(err, errStale))
		}
	}
	if p.Status == http.StatusRequestEntityTooLarge {
		h.Set("Connection", "close") // the rest of the body is not worth reading
	}
	if f, err := negotiate(r, jsonFormat, xmlFormat); err == nil && f.xml() {
		h.Set("Content-Type", "application/problem+xml")
		body, err := xml.Marshal(p)
		if err == nil {
			writeBody(w, r, p.Status, append([]byte(xml.Header), body...))
			return
		}
	}
	h.Set("Content-Type", "application/problem+json")
	body, _ := json.Marshal(p) // strings and an int: can't fail
	writeBody(w, r, p.Status, body)
}

// challenge is the value of WWW-Authenticate: Basic for programs; for browsers a scheme that opens
// no dialog (see the package comment).
func challenge(r *http.Request) string {
	if r.Header.Get("Sec-Fetch-Site") != "" || r.Header.Get(clientHeader) != "" {
		return `Latchkey realm="latchkey"`
	}
	return `Basic realm="latchkey", charset="UTF-8"` // RFC 7617 §2.1
}

// explainProblem makes each problem type an address that says what it means (RFC 9457 §4).
func explainProblem(w http.ResponseWriter, r *http.Request) error {
	name := strings.TrimPrefix(r.URL.Path, "/problems/")
	for _, k := range latchkey.Kinds() {
		if row := k.Row(); row.Name == name {
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			writeBody(w, r, http.StatusOK, fmt.Appendf(nil, "%s\n%s (HTTP status %d)\n", row.Name, row.Title, row.HTTP))
			return nil
		}
	}
	return latchkey.Errorf(latchkey.KindNotFound, "")
}

// writeBody writes a whole answer; HEAD gets its headers only.
func writeBody(w http.ResponseWriter, r *http.Request, status int, body []byte) {
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // a client that went away is nobody's failure
	}
}
