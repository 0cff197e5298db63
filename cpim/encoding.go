package cpim

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"strings"
)

// maxParts bounds the parts of a multipart content (S16).
const maxParts = 256

// Decoded is the content without its Content-Transfer-Encoding, which some clients put on text and small files: base64 or
// quoted-printable (RFC 2045 §6). One that nobody knows is ErrMalformed. It is no longer than Body.
func (m *Message) Decoded() ([]byte, error) {
	encoding := ""
	for _, h := range m.ContentHeaders {
		if strings.EqualFold(h.Name, "Content-Transfer-Encoding") {
			if encoding != "" {
				return nil, malformed("two transfer encodings")
			}
			encoding = h.Value
		}
	}
	return decoded(encoding, m.Body)
}

func decoded(encoding string, b []byte) ([]byte, error) {
	switch strings.ToLower(strings.TrimSpace(encoding)) {
	case "", "7bit", "8bit", "binary":
		return b, nil
	case "base64":
		// RFC 2045 §6.8: line ends, and whatever else is none of the alphabet, is passed over; here white space alone.
		b = bytes.Join(bytes.Fields(b), nil)
		out := make([]byte, base64.StdEncoding.DecodedLen(len(b)))
		n, err := base64.StdEncoding.Decode(out, b)
		if err != nil {
			return nil, malformed("base64")
		}
		return out[:n], nil
	case "quoted-printable":
		out, err := io.ReadAll(quotedprintable.NewReader(bytes.NewReader(b)))
		if err != nil {
			return nil, malformed("quoted-printable")
		}
		return out, nil
	}
	return nil, malformed(fmt.Sprintf("transfer encoding %.40q", encoding))
}

// Notifies reports whether the content is a notification, or several in one message as list servers and RCS clients
// aggregate them (RFC 5438 §8.3).
func (m *Message) Notifies() bool {
	if m.Content() == IMDNType {
		return true
	}
	for _, h := range m.ContentHeaders {
		if strings.EqualFold(h.Name, "Content-Disposition") {
			d, _, _ := strings.Cut(h.Value, ";")
			return strings.HasPrefix(m.Content(), "multipart/") && strings.EqualFold(strings.TrimSpace(d), "notification")
		}
	}
	return false
}

// Notifications reads the content as ParseIMDN does, and a multipart as all its message/imdn+xml parts. A part that can't be
// read makes the whole ErrMalformed; parts of other types are left out.
func (m *Message) Notifications() ([]Notification, error) {
	body, err := m.Decoded()
	if err != nil {
		return nil, err
	}
	if !strings.HasPrefix(m.Content(), "multipart/") {
		return ParseIMDN(body)
	}
	_, params, err := mime.ParseMediaType(m.ContentType)
	if err != nil || params["boundary"] == "" {
		return nil, malformed("multipart without a boundary")
	}
	var all []Notification
	r := multipart.NewReader(bytes.NewReader(body), params["boundary"])
	for n := 0; ; n++ {
		p, err := r.NextRawPart()
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || err != nil && n > 0 && unclosed(body, params["boundary"]) {
			break // RFC 5438's own example lacks the last two dashes
		}
		if err != nil || n == maxParts {
			return nil, malformed("multipart")
		}
		if t, _, _ := mime.ParseMediaType(p.Header.Get("Content-Type")); t != IMDNType {
			continue
		}
		b, err := io.ReadAll(p)
		if err == nil || errors.Is(err, io.ErrUnexpectedEOF) { // no boundary behind it: the XML tells whether it is whole
			b, err = decoded(p.Header.Get("Content-Transfer-Encoding"), b)
		}
		if err != nil {
			return nil, malformed("part of a multipart")
		}
		some, err := ParseIMDN(bytes.TrimSpace(b))
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	if len(all) == 0 {
		return nil, malformed("multipart without a notification")
	}
	return all, nil
}

// unclosed reports whether the last boundary is one that would open another part.
func unclosed(body []byte, boundary string) bool {
	return bytes.HasSuffix(bytes.TrimRight(body, "\r\n \t"), []byte("--"+boundary))
}
