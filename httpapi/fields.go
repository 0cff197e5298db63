package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"latchkey"
)

// fields is a request's body, from JSON or XML alike: each name has one text or a list
// of texts. All bodies of the facade are that flat. Names that a handler doesn't ask for are ignored.
type fields map[string]field

type field struct {
	texts []string
	list  bool // written as a list, or more than once
	other bool // neither a text nor a list of texts
}

// bodyTime is how long a body may take to come.
const bodyTime = 30 * time.Second

// readFields reads the body, whatever its type. No body at all is no fields.
func (a *API) readFields(w http.ResponseWriter, r *http.Request) (fields, error) {
	if encoding := r.Header.Get("Content-Encoding"); encoding != "" && !strings.EqualFold(encoding, "identity") {
		return nil, latchkey.Errorf(latchkey.KindUnsupportedMedia, "Content-Encoding: send the body as it is")
	}
	// A body that trickles in holds no place for long (F67). The deadline must not outlast the body: it
	// would end the request's context, too.
	c := http.NewResponseController(w)
	_ = c.SetReadDeadline(time.Now().Add(bodyTime))
	body, err := io.ReadAll(http.MaxBytesReader(unrecorded(w), r.Body, a.opt.MaxBody))
	_ = c.SetReadDeadline(time.Time{})
	if err != nil {
		if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
			return nil, latchkey.Errorf(latchkey.KindTooLarge, "the body may have %d bytes", a.opt.MaxBody)
		}
		return nil, latchkey.Wrap(latchkey.KindBadRequest, err, "the body can't be read")
	}
	body = bytes.TrimSpace(bytes.TrimPrefix(body, []byte("\ufeff"))) // some editors put a byte order mark before the text
	if len(body) == 0 {
		return fields{}, nil
	}
	f, err := bodyFormat(r)
	if err != nil {
		return nil, err
	}
	if !utf8.Valid(body) {
		return nil, latchkey.Errorf(latchkey.KindBadRequest, "the body is not UTF-8")
	}
	if f.xml() {
		return readXML(body)
	}
	return readJSON(body)
}

// unrecorded is the server's own writer, which MaxBytesReader tells to close the connection.
func unrecorded(w http.ResponseWriter) http.ResponseWriter {
	if rec, ok := w.(*recorder); ok {
		return rec.ResponseWriter
	}
	return w
}

// readJSON reads an object.
func readJSON(body []byte) (fields, error) {
	var object map[string]json.RawMessage
	if err := json.Unmarshal(body, &object); err != nil || object == nil {
		return nil, latchkey.Wrap(latchkey.KindBadRequest, err, "the body is not a JSON object")
	}
	got := fields{}
	for name, raw := range object {
		var text string
		var texts []string
		switch {
		case string(raw) == "null": // as if it weren't there
		case json.Unmarshal(raw, &text) == nil:
			got[name] = field{texts: []string{text}}
		case json.Unmarshal(raw, &texts) == nil:
			got[name] = field{texts: texts, list: true}
		default:
			got[name] = field{other: true}
		}
	}
	return got, nil
}

// text is the value of a name as it was sent; "" if it wasn't.
func (f fields) text(name string) (string, error) {
	v, ok := f[name]
	switch {
	case !ok:
		return "", nil
	case v.other, v.list, len(v.texts) != 1:
		return "", latchkey.Errorf(latchkey.KindBadRequest, "%s: must be one text", name)
	}
	return v.texts[0], nil
}

// word is text without the white space around it that indented XML has: a name, not longer than 1000 bytes, without
// control characters.
func (f fields) word(name string) (string, error) {
	s, err := f.text(name)
	if err != nil {
		return "", err
	}
	s = strings.TrimSpace(s)
	switch {
	case len(s) > 1000:
		return "", latchkey.Errorf(latchkey.KindBadRequest, "%s: is too long", name)
	case strings.ContainsFunc(s, unicode.IsControl):
		return "", latchkey.Errorf(latchkey.KindBadRequest, "%s: has a control character", name)
	}
	return s, nil
}

// time is a moment as RFC 3339 writes it; zero where none was sent.
func (f fields) time(name string) (time.Time, error) {
	s, err := f.word(name)
	if err != nil || s == "" {
		return time.Time{}, err
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return time.Time{}, latchkey.Errorf(latchkey.KindBadRequest, "%s: must be a time as 2030-01-02T03:04:05Z", name)
	}
	return t.UTC(), nil
}

// words is a list of words; one text is a list of one.
func (f fields) words(name string) ([]string, error) {
	v := f[name]
	if v.other || len(v.texts) > 32 {
		return nil, latchkey.Errorf(latchkey.KindBadRequest, "%s: must be a list of words", name)
	}
	words := slices.Clone(v.texts)
	for i := range words {
		words[i] = strings.TrimSpace(words[i])
	}
	return words, nil
}
