package imstest

import (
	"fmt"
	"regexp"
	"strings"
)

// envelope is a CPIM message as the phone reads it.
type envelope struct {
	header  map[string]string // names as they stand, imdn's with the prefix "imdn."
	content map[string]string
	body    []byte
}

func readEnvelope(b []byte) (*envelope, error) {
	head, rest, ok := strings.Cut(string(b), "\r\n\r\n")
	if !ok {
		return nil, fmt.Errorf("cpim without end of headers: %.80q", b)
	}
	mimeHead, body, ok := strings.Cut(rest, "\r\n\r\n")
	if !ok {
		return nil, fmt.Errorf("cpim without end of content headers: %.80q", b)
	}
	e := &envelope{header: map[string]string{}, content: map[string]string{}, body: []byte(body)}
	prefix := ""
	for l := range strings.SplitSeq(head, "\r\n") {
		name, value, _ := strings.Cut(l, ": ")
		if name == "NS" && strings.HasSuffix(value, "<urn:ietf:params:imdn>") {
			prefix, _, _ = strings.Cut(value, " ")
		}
		if p, local, found := strings.Cut(name, "."); found && p == prefix {
			name = "imdn." + local
		}
		e.header[name] = value
	}
	for l := range strings.SplitSeq(mimeHead, "\r\n") {
		name, value, _ := strings.Cut(l, ":")
		e.content[strings.ToLower(name)] = strings.TrimSpace(value)
	}
	return e, nil
}

func (e *envelope) mediaType() string {
	t, _, _ := strings.Cut(e.content["content-type"], ";")
	return strings.TrimSpace(t)
}

func writeEnvelope(from, to, id, disposition, contentType, body string) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "From: <%s>\r\nTo: <%s>\r\nNS: imdn <urn:ietf:params:imdn>\r\nDateTime: %s\r\nimdn.Message-ID: %s\r\n",
		from, to, dateTime(), id)
	if disposition != "" {
		fmt.Fprintf(&b, "imdn.Disposition-Notification: %s\r\n", disposition)
	}
	fmt.Fprintf(&b, "\r\nContent-Type: %s\r\n", contentType)
	if contentType == "message/imdn+xml" {
		b.WriteString("Content-Disposition: notification\r\n")
	}
	fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n%s", len(body), body)
	return []byte(b.String())
}

func imdnDocument(id, recipient, kind, status string) string {
	return fmt.Sprintf(`<?xml version="1.0" encoding="UTF-8"?><imdn xmlns="urn:ietf:params:xml:ns:imdn"><message-id>%s</message-id><datetime>%s</datetime><recipient-uri>%s</recipient-uri><%s-notification><status><%s/></status></%s-notification></imdn>`,
		id, dateTime(), recipient, kind, status, kind)
}

var (
	imdnID     = regexp.MustCompile(`<message-id>([^<]*)</message-id>`)
	imdnStatus = regexp.MustCompile(`<status>\s*<([a-z]+)\s*/>`)
	stateOf    = regexp.MustCompile(`<state>\s*([a-z]+)\s*</state>`)
)

// composingDocument is an is-composing document (RFC 3994).
func composingDocument(active bool) string {
	state := "idle"
	if active {
		state = "active"
	}
	return `<?xml version="1.0" encoding="UTF-8"?><isComposing xmlns="urn:ietf:params:xml:ns:im-iscomposing"><state>` + state + `</state><contenttype>text/plain</contenttype><refresh>60</refresh></isComposing>`
}
