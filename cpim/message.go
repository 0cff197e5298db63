package cpim

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// IMDN is the namespace of the disposition headers (RFC 5438 §6).
const IMDN = "urn:ietf:params:imdn"

// ErrMalformed is wrapped by all errors of this package's readers.
var ErrMalformed = errors.New("malformed message")

// ErrRequired is returned for a message that requires a header we don't understand (RFC 3862 §4.7).
var ErrRequired = errors.New("message requires an unknown header")

// Limits of a message's headers.
const (
	maxHeaders = 64
	maxLine    = 4 << 10
)

// Party is one end of a message.
type Party struct {
	Name string // display name, may be empty
	URI  string
}

// Header is a field with its namespace: the URI that its prefix stood for, or "" for CPIM's own.
type Header struct {
	Namespace string
	Name      string
	Value     string
}

// Disposition is a notification that a sender asks for (RFC 5438 §6.2).
type Disposition string

// Notifications that can be asked for.
const (
	PositiveDelivery Disposition = "positive-delivery"
	NegativeDelivery Disposition = "negative-delivery"
	Display          Disposition = "display"
)

// Message is a CPIM message. Zero fields are not written.
type Message struct {
	From        Party
	To          Party
	DateTime    time.Time
	Subject     string
	MessageID   string        // imdn.Message-ID
	Disposition []Disposition // imdn.Disposition-Notification
	Other       []Header

	ContentType    string
	ContentHeaders []Header // further MIME headers of the content, without namespace
	Body           []byte
}

// Wants reports whether the sender asks for the notification.
func (m *Message) Wants(d Disposition) bool { return slices.Contains(m.Disposition, d) }

// Content is the MIME type without parameters, in lower case.
func (m *Message) Content() string {
	t, _, _ := strings.Cut(m.ContentType, ";")
	return strings.ToLower(strings.TrimSpace(t))
}

// Parse reads a message. Prefixes are resolved by their NS headers, whatever they are called (RFC 3862 §3.4).
func Parse(b []byte) (*Message, error) {
	bad := func(why string) (*Message, error) { return nil, fmt.Errorf("cpim: %s: %w", why, ErrMalformed) }
	// RFC 3862 §2: message headers, an empty line, content headers, an empty line, content. Lines
	// end with CRLF; some clients send LF alone.
	m := &Message{}
	namespaces := map[string]string{"": ""}
	count := 0
	for {
		line, rest, ok := nextLine(b)
		if !ok {
			return bad("headers don't end")
		}
		b = rest
		if line == "" {
			break
		}
		if count++; count > maxHeaders {
			return bad("too many headers")
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok || name == "" || len(line) > maxLine {
			return bad("header without name")
		}
		value, ok = unescape(strings.TrimPrefix(value, " "))
		if !ok {
			return bad("invalid escape")
		}
		if err := m.set(name, value, namespaces); err != nil {
			return nil, err
		}
	}
	for {
		line, rest, ok := nextLine(b)
		if !ok {
			return bad("content headers don't end")
		}
		b = rest
		if line == "" {
			break
		}
		if count++; count > maxHeaders || len(line) > maxLine {
			return bad("too many headers")
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			return bad("content header without name")
		}
		value = strings.TrimSpace(value)
		if strings.EqualFold(name, "Content-Type") {
			m.ContentType = value
			continue
		}
		m.ContentHeaders = append(m.ContentHeaders, Header{Name: name, Value: value})
	}
	if n := m.contentLength(); n >= 0 {
		if n > len(b) {
			return bad("content is shorter than Content-Length")
		}
		b = b[:n]
	}
	m.Body = bytes.Clone(b)
	if m.Body == nil {
		m.Body = []byte{}
	}
	return m, nil
}

func (m *Message) contentLength() int {
	for _, h := range m.ContentHeaders {
		if strings.EqualFold(h.Name, "Content-Length") {
			if n, err := strconv.ParseUint(h.Value, 10, 31); err == nil {
				return int(n)
			}
		}
	}
	return -1
}

func nextLine(b []byte) (line string, rest []byte, ok bool) {
	i := bytes.IndexByte(b, '\n')
	if i < 0 {
		return "", nil, false
	}
	return strings.TrimSuffix(string(b[:i]), "\r"), b[i+1:], true
}

// set takes one message header. Names are case-sensitive (RFC 3862 §2.2).
func (m *Message) set(name, value string, namespaces map[string]string) error {
	prefix, local := "", name
	if i := strings.LastIndexByte(name, '.'); i >= 0 {
		prefix, local = name[:i], name[i+1:]
	}
	local, _, _ = strings.Cut(local, ";") // a lang parameter: Subject:;lang=fr
	namespace, known := namespaces[prefix]
	if !known {
		namespace = prefix // undeclared: ignored unless required
		if prefix == "imdn" {
			namespace = IMDN // some clients forget the NS line
		}
	}
	switch {
	case namespace == "" && local == "From":
		m.From = party(value)
	case namespace == "" && local == "To":
		m.To = party(value)
	case namespace == "" && local == "DateTime":
		t, err := time.Parse(time.RFC3339Nano, value)
		if err != nil {
			return fmt.Errorf("cpim: DateTime %.40q: %w", value, ErrMalformed)
		}
		m.DateTime = t
	case namespace == "" && local == "Subject":
		m.Subject = value
	case namespace == "" && local == "NS":
		p, uri, ok := strings.Cut(value, "<")
		uri, _, ok2 := strings.Cut(uri, ">")
		if !ok || !ok2 || uri == "" {
			return fmt.Errorf("cpim: NS: %w", ErrMalformed)
		}
		namespaces[strings.TrimSpace(p)] = uri
	case namespace == "" && local == "Require":
		for r := range strings.SplitSeq(value, ",") {
			p, _, hasPrefix := strings.Cut(strings.TrimSpace(r), ".")
			if hasPrefix && namespaces[p] != IMDN && p != "imdn" {
				return fmt.Errorf("cpim: %.40q: %w", r, ErrRequired)
			}
		}
	case namespace == IMDN && local == "Message-ID":
		m.MessageID = value
	case namespace == IMDN && local == "Disposition-Notification":
		for d := range strings.SplitSeq(value, ",") {
			d, _, _ = strings.Cut(strings.TrimSpace(d), ";")
			if d != "" {
				m.Disposition = append(m.Disposition, Disposition(strings.TrimSpace(d)))
			}
		}
	default:
		m.Other = append(m.Other, Header{namespace, local, value})
	}
	return nil
}

// party reads `Name <uri>`, `"Name" <uri>`, `<uri>` or a bare URI.
func party(v string) Party {
	v = strings.TrimSpace(v)
	i := strings.LastIndexByte(v, '<')
	if i < 0 || !strings.HasSuffix(v, ">") {
		return Party{URI: v}
	}
	name := strings.TrimSpace(v[:i])
	if len(name) >= 2 && name[0] == '"' && name[len(name)-1] == '"' {
		name = name[1 : len(name)-1]
	}
	return Party{Name: name, URI: v[i+1 : len(v)-1]}
}

// Bytes writes the message. Values can't break out of their line: they are escaped (RFC 3862 §2.3.1),
// and content headers with control characters are an error (S8).
func (m *Message) Bytes() ([]byte, error) {
	var b bytes.Buffer
	field := func(name, value string) { fmt.Fprintf(&b, "%s: %s\r\n", name, value) }
	for name, p := range map[string]Party{"From": m.From, "To": m.To} {
		if strings.ContainsAny(p.URI, "<>\r\n\x00 ") {
			return nil, fmt.Errorf("cpim: %s: invalid uri", name)
		}
	}
	write := func(name string, p Party) {
		if p.URI == "" && p.Name == "" {
			return
		}
		if p.Name == "" {
			field(name, "<"+p.URI+">")
			return
		}
		field(name, `"`+escape(strings.Map(dropQuotes, p.Name))+`" <`+p.URI+">")
	}
	write("From", m.From)
	write("To", m.To)
	if m.needsIMDN() {
		field("NS", "imdn <"+IMDN+">")
	}
	if !m.DateTime.IsZero() {
		field("DateTime", m.DateTime.UTC().Format("2006-01-02T15:04:05.000Z"))
	}
	if m.Subject != "" {
		field("Subject", escape(m.Subject))
	}
	if m.MessageID != "" {
		field("imdn.Message-ID", escape(m.MessageID))
	}
	if len(m.Disposition) > 0 {
		all := make([]string, len(m.Disposition))
		for i, d := range m.Disposition {
			all[i] = string(d)
		}
		field("imdn.Disposition-Notification", escape(strings.Join(all, ", ")))
	}
	prefixes := map[string]string{"": "", IMDN: "imdn."}
	for _, h := range m.Other {
		if !isToken(h.Name) || strings.ContainsAny(h.Namespace, "<>\r\n\x00") {
			return nil, fmt.Errorf("cpim: header %q: invalid name", h.Name)
		}
		prefix, known := prefixes[h.Namespace]
		if !known {
			prefix = "x" + strconv.Itoa(len(prefixes)) + "."
			prefixes[h.Namespace] = prefix
			field("NS", strings.TrimSuffix(prefix, ".")+" <"+h.Namespace+">")
		}
		field(prefix+h.Name, escape(h.Value))
	}
	b.WriteString("\r\n")
	content := append([]Header{{Name: "Content-Type", Value: m.ContentType}}, m.ContentHeaders...)
	for _, h := range content {
		if !isToken(h.Name) || strings.ContainsAny(h.Value, "\r\n\x00") {
			return nil, fmt.Errorf("cpim: content header %q: invalid", h.Name)
		}
		if h.Value != "" && !strings.EqualFold(h.Name, "Content-Length") {
			field(h.Name, h.Value)
		}
	}
	field("Content-Length", strconv.Itoa(len(m.Body)))
	b.WriteString("\r\n")
	b.Write(m.Body)
	return b.Bytes(), nil
}

func (m *Message) needsIMDN() bool {
	return m.MessageID != "" || len(m.Disposition) > 0 ||
		slices.ContainsFunc(m.Other, func(h Header) bool { return h.Namespace == IMDN })
}

func dropQuotes(r rune) rune {
	if r == '"' || r == '<' || r == '>' {
		return '\''
	}
	return r
}

func isToken(s string) bool {
	if s == "" {
		return false
	}
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || c == ':' || c == '.' {
			return false
		}
	}
	return true
}

// escape writes what must not stand in a header value (RFC 3862 §2.3.1).
func escape(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '\\':
			b.WriteString(`\\`)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == '\b':
			b.WriteString(`\b`)
		case r < ' ' || r == 0x7f || r == utf8.RuneError:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

func unescape(s string) (string, bool) {
	if !strings.ContainsRune(s, '\\') {
		return s, utf8.ValidString(s)
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			b.WriteByte(s[i])
			continue
		}
		if i++; i == len(s) {
			return "", false
		}
		switch s[i] {
		case 'n':
			b.WriteByte('\n')
		case 'r':
			b.WriteByte('\r')
		case 't':
			b.WriteByte('\t')
		case 'b':
			b.WriteByte('\b')
		case 'u':
			if i+4 >= len(s) {
				return "", false
			}
			n, err := strconv.ParseUint(s[i+1:i+5], 16, 16)
			if err != nil {
				return "", false
			}
			b.WriteRune(rune(n))
			i += 4
		default: // \\ \" \' and any other character stand for themselves
			b.WriteByte(s[i])
		}
	}
	return b.String(), utf8.ValidString(b.String())
}
