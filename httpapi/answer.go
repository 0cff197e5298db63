package httpapi

import (
	"bytes"
	"encoding/json"
	"net/http"
	"time"

	"latchkey"
)

// answerFormat is what an answer will be written in. Handlers ask before they do anything, so that
// nothing has happened where nobody could be told.
func answerFormat(r *http.Request) (format, error) { return negotiate(r, jsonFormat, xmlFormat) }

// answer writes v, whose JSON is the facade's, in either format. kind is what it is called as an XML
// root.
func answer(w http.ResponseWriter, r *http.Request, f format, status int, kind string, v any) error {
	body, err := encode(v)
	if err == nil && f.xml() {
		body, err = toXML(kind, body)
	}
	if err != nil {
		return latchkey.Wrap(latchkey.KindInternal, err, "")
	}
	contentType := string(f)
	if f == textXMLFormat {
		contentType += "; charset=utf-8" // RFC 7303 §3: old readers take text/xml for US-ASCII
	}
	w.Header().Set("Content-Type", contentType)
	writeBody(w, r, status, body)
	return nil
}

// encode makes JSON on one line. Less-than signs need no escape here: nosniff holds.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

// moment is a time as clients see it: UTC, and no finer than what the store keeps, so that
// a repeat is told the same.
func moment(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }

// nothing is the answer of what worked and has nothing to tell.
func nothing(w http.ResponseWriter) error {
	w.WriteHeader(http.StatusNoContent)
	return nil
}
