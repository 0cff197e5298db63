package b2bua

import (
	"bytes"
	"io"
	"mime"
	"mime/multipart"
	"net/textproto"
	"strconv"
	"strings"

	"github.com/emiago/sipgo/sip"
)

const sdpType = "application/sdp"

// maxParts bounds the body parts that are looked at.
const maxParts = 16

// bodyPart is the first body part of the type; nil if there is none. multipart is
// searched one level deep (RFC 5621 §3.1).
func bodyPart(m interface {
	ContentType() *sip.ContentTypeHeader
	Body() []byte
}, contentType string) []byte {
	h := m.ContentType()
	if h == nil || len(m.Body()) == 0 {
		return nil
	}
	t, params, err := mime.ParseMediaType(h.Value())
	switch {
	case err != nil:
		return nil
	case strings.EqualFold(t, contentType):
		return bytes.Clone(m.Body())
	case !strings.HasPrefix(t, "multipart/") || params["boundary"] == "":
		return nil
	}
	parts := multipart.NewReader(bytes.NewReader(m.Body()), params["boundary"])
	for range maxParts {
		p, err := parts.NextRawPart()
		if err != nil {
			return nil
		}
		if t, _, err := mime.ParseMediaType(p.Header.Get("Content-Type")); err == nil && strings.EqualFold(t, contentType) {
			b, err := io.ReadAll(p)
			if err != nil {
				return nil
			}
			return b
		}
	}
	return nil
}

// Part is a body part beside an offer.
type Part struct {
	ContentType, ContentID, Disposition string // ContentID without its angle brackets
	Body                                []byte
}

// related is the body of the INVITE: the offer alone, or with its parts behind it in multipart/related, whose root is the first
// part and named by type (RFC 5547 §8.8, RFC 2387 §3.1).
func (inv Invite) related() (contentType string, body []byte, err error) {
	if len(inv.Related) == 0 {
		return inv.ContentType, inv.Body, nil
	}
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for _, p := range append([]Part{{ContentType: inv.ContentType, Body: inv.Body}}, inv.Related...) {
		h := textproto.MIMEHeader{"Content-Type": {p.ContentType}, "Content-Length": {strconv.Itoa(len(p.Body))}}
		if p.ContentID != "" {
			h.Set("Content-ID", "<"+p.ContentID+">")
			h.Set("Content-Transfer-Encoding", "binary")
		}
		if p.Disposition != "" {
			h.Set("Content-Disposition", p.Disposition)
		}
		part, err := w.CreatePart(h)
		if err == nil {
			_, err = part.Write(p.Body)
		}
		if err != nil {
			return "", nil, err
		}
	}
	err = w.Close()
	return mime.FormatMediaType("multipart/related", map[string]string{"boundary": w.Boundary(), "type": inv.ContentType}), b.Bytes(), err
}

// understood reports whether a body is one that we can take where an offer or answer is expected; if
// not, the request is refused (RFC 3261 §8.2.3, RFC 5621 §3.3).
func understood(req *sip.Request) bool {
	for _, name := range []string{"Content-Encoding", "e"} {
		if h := req.GetHeader(name); h != nil && !strings.EqualFold(strings.TrimSpace(h.Value()), "identity") {
			return false
		}
	}
	if len(req.Body()) == 0 || len(bodyPart(req, sdpType)) > 0 {
		return true
	}
	h := req.GetHeader("Content-Disposition")
	return h != nil && strings.Contains(strings.ToLower(strings.ReplaceAll(h.Value(), " ", "")), "handling=optional")
}

// notUnderstood are the fields of a 415 (RFC 3261 §8.2.3).
func notUnderstood() []sip.Header {
	return []sip.Header{sip.NewHeader("Accept", sdpType+", multipart/mixed"), sip.NewHeader("Accept-Encoding", "identity")}
}
