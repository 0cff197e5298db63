package b2bua

import (
	"bytes"
	"io"
	"mime"
	"mime/multipart"
	"strings"

	"github.com/emiago/sipgo/sip"
)

const sdpType = "application/sdp"

// Body parts that are looked at, and how deep multipart may stand in multipart.
const (
	maxParts = 16
	maxDepth = 4
)

// bodyPart is the first body part of the type; nil if there is none. multipart is searched, that in a part of
// another included (RFC 5621 §4.2).
func bodyPart(m interface {
	ContentType() *sip.ContentTypeHeader
	Body() []byte
}, contentType string) []byte {
	h := m.ContentType()
	if h == nil || len(m.Body()) == 0 {
		return nil
	}
	left := maxParts
	return bytes.Clone(partOf(h.Value(), m.Body(), contentType, maxDepth, &left))
}

// partOf searches a body, or a part of one. left counts the parts down.
func partOf(kind string, body []byte, contentType string, depth int, left *int) []byte {
	t, params, err := mime.ParseMediaType(kind)
	switch {
	case err != nil:
		return nil
	case strings.EqualFold(t, contentType):
		return body
	case !strings.HasPrefix(t, "multipart/") || params["boundary"] == "" || depth == 0:
		return nil
	}
	for parts := multipart.NewReader(bytes.NewReader(body), params["boundary"]); *left > 0; {
		*left--
		p, err := parts.NextRawPart()
		if err != nil {
			return nil
		}
		kind := p.Header.Get("Content-Type")
		if t, _, err := mime.ParseMediaType(kind); err != nil || !strings.EqualFold(t, contentType) && !strings.HasPrefix(t, "multipart/") {
			continue
		}
		b, err := io.ReadAll(p)
		if err != nil {
			return nil
		}
		if found := partOf(kind, b, contentType, depth-1, left); found != nil {
			return found
		}
	}
	return nil
}

// understood reports whether a body is one that we can take where an offer or answer is expected; if
// not, the request is refused (RFC 3261 §8.2.3, RFC 5621 §8.4).
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
