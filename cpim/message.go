package cpim

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// IMDN is the namespace of the disposition headers (RFC 5438 §6).
const IMDN = "urn:ietf:params:imdn"

// coreHeaders is the namespace of CPIM's own headers (RFC 3862 §4), "" in Header.
const coreHeaders = "urn:ietf:params:cpim-headers:"

// ErrMalformed is wrapped by all errors of this package's readers.
var ErrMalformed = errors.New("malformed message")

// ErrRequired is returned for a message that requires a header we don't understand (RFC 3862 §4.7).
var ErrRequired = errors.New("message requires an unknown header")

// Limits of a message's headers (S16): their number, and octets a line.
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

// Parse reads a message. Prefixes are resolved by their NS headers, whatever they are called (RFC 3862 §3.4). What is malformed, or has a
// header twice that is there once, is ErrMalformed; ErrRequired says that the message can't be understood.
// Headers of prefixes that nobody declared are left out; a DateTime that can't be read is zero.
func Parse(b []byte) (*Message, error) {
	// RFC 3862 §2: message headers, an empty line, content headers, an empty line, content. Lines
	// end with CRLF; some clients send LF alone.
	m := &Message{}
	r := reader{m: m, namespaces: map[string]string{"": "", "imdn": IMDN}, seen: map[Header]bool{}} // some clients forget the NS line of imdn
	b, err := lines(b, &r.count, r.header)
	if err == nil && r.required != nil {
		err = r.required
	}
	if err != nil {
		return nil, err
	}
	last := ""
	b, err = lines(b, &r.count, func(line string) error {
		if line[0] == ' ' || line[0] == '\t' { // folded, as MIME allows
			return m.fold(last, " "+strings.TrimSpace(line))
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok || !isToken(name) || strings.ContainsAny(value, "\r\x00") {
			return malformed("content header")
		}
		last, value = name, strings.TrimSpace(value)
		if strings.EqualFold(name, "Content-Type") {
			if m.ContentType != "" {
				return malformed("two content types")
			}
			m.ContentType = value
			return nil
		}
		m.ContentHeaders = append(m.ContentHeaders, Header{Name: name, Value: value})
		return nil
	})
	if err != nil {
		return nil, err
	}
	// Content-Length is none of CPIM. Where more than line ends follows, the sender counted characters, and
	// the message that carried this one knows better where it ends.
	if n := m.contentLength(); n > len(b) {
		return nil, malformed("content is shorter than Content-Length")
	} else if n >= 0 && len(bytes.Trim(b[n:], "\r\n")) == 0 {
		b = b[:n]
	}
	m.Body = append([]byte{}, b...)
	return m, nil
}

func malformed(why string) error { return fmt.Errorf("cpim: %s: %w", why, ErrMalformed) }

// lines gives each line up to an empty one to f, and returns what is behind that.
func lines(b []byte, count *int, f func(string) error) ([]byte, error) {
	for {
		i := bytes.IndexByte(b, '\n')
		switch {
		case i < 0:
			return nil, malformed("headers don't end")
		case i > maxLine:
			return nil, malformed("header line too long")
		}
		line := string(bytes.TrimSuffix(b[:i], []byte("\r")))
		b = b[i+1:]
		if line == "" {
			return b, nil
		}
		if *count++; *count > maxHeaders {
			return nil, malformed("too many headers")
		}
		if err := f(line); err != nil {
			return nil, err
		}
	}
}

func (m *Message) fold(name, more string) error {
	switch {
	case name == "" || strings.ContainsAny(more, "\r\x00"):
		return malformed("content header")
	case strings.EqualFold(name, "Content-Type"):
		m.ContentType = strings.TrimSpace(m.ContentType + more)
	default:
		h := &m.ContentHeaders[len(m.ContentHeaders)-1]
		h.Value = strings.TrimSpace(h.Value + more)
	}
	return nil
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

// reader resolves message headers.
type reader struct {
	m          *Message
	namespaces map[string]string // URIs of prefixes; CPIM's own is ""
	seen       map[Header]bool   // headers without their values
	count      int
	required   error
}

// name resolves a header's prefix. Names are case-sensitive (RFC 3862 §2.2).
func (r *reader) name(s string) (h Header, declared bool) {
	prefix := ""
	if i := strings.LastIndexByte(s, '.'); i >= 0 {
		prefix, s = s[:i], s[i+1:]
	}
	namespace, declared := r.namespaces[prefix]
	if prefix == "" && (s == "NS" || s == "Require") { // whatever the default namespace became
		namespace = ""
	}
	return Header{Namespace: namespace, Name: s}, declared
}

// header takes one message header: name ":" *( ";" parameter ) SP value (RFC 3862 §2.3).
func (r *reader) header(line string) error {
	name, value, ok := strings.Cut(line, ":")
	if !ok || !isToken(strings.ReplaceAll(name, ".", "_")) {
		return malformed("header name")
	}
	if strings.HasPrefix(value, ";") { // ;lang=fr
		_, value, _ = strings.Cut(value, " ")
	}
	value, ok = unescape(strings.TrimPrefix(value, " "))
	if !ok {
		return malformed("invalid escape or character")
	}
	h, declared := r.name(name)
	if !declared || !isToken(h.Name) {
		return nil // RFC 3862 §3.5: ignored unless required
	}
	m, again := r.m, r.seen[h]
	r.seen[h] = true
	switch h {
	case Header{Name: "NS"}:
		prefix, uri, ok := strings.Cut(value, "<")
		uri, rest, ok2 := strings.Cut(uri, ">")
		if !ok || !ok2 || uri == "" || strings.TrimSpace(rest) != "" || strings.ContainsAny(uri, "<\r\n\x00 ") {
			return malformed("NS")
		}
		if uri == coreHeaders {
			uri = ""
		}
		r.namespaces[strings.TrimSpace(prefix)] = uri
		return nil
	case Header{Name: "Require"}:
		for name := range strings.SplitSeq(value, ",") {
			if h, declared := r.name(strings.TrimSpace(name)); r.required == nil && (!declared || !slices.Contains(understood, h)) {
				r.required = fmt.Errorf("cpim: %.40q: %w", name, ErrRequired)
			}
		}
		return nil
	case Header{Name: "To"}: // may be there for each recipient
		if m.To == (Party{}) {
			m.To = party(value)
			return nil
		}
	case Header{Name: "From"}, Header{Name: "DateTime"}, Header{IMDN, "Message-ID", ""}, Header{IMDN, "Disposition-Notification", ""}:
		if again {
			return malformed("two headers " + h.Name)
		}
		switch h.Name {
		case "From":
			m.From = party(value)
		case "DateTime":
			m.DateTime, _ = time.Parse(time.RFC3339Nano, value)
		case "Message-ID":
			m.MessageID = value
		default:
			for d := range strings.SplitSeq(value, ",") {
				d, _, _ = strings.Cut(d, ";") // parameters of RFC 5438 §6.2
				if d = strings.TrimSpace(d); d != "" {
					m.Disposition = append(m.Disposition, Disposition(d))
				}
			}
		}
		return nil
	case Header{Name: "Subject"}: // may be there in several languages
		if m.Subject == "" {
			m.Subject = value
			return nil
		}
	}
	h.Value = value
	m.Other = append(m.Other, h)
	return nil
}

// understood are the headers that a message may require of us.
var understood = []Header{
	{Name: "From"}, {Name: "To"}, {Name: "cc"}, {Name: "DateTime"}, {Name: "Subject"}, {Name: "NS"}, {Name: "Require"},
	{IMDN, "Message-ID", ""}, {IMDN, "Disposition-Notification", ""},
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
// and names, URIs and content headers that would are an error (S8). Content-Length is ours.
func (m *Message) Bytes() ([]byte, error) {
	head, err := m.Head(int64(len(m.Body)))
	if err != nil {
		return nil, err
	}
	return append(head, m.Body...), nil
}

// Head writes all that comes before a content of size octets, for one that is not in memory. Body is not looked at.
func (m *Message) Head(size int64) ([]byte, error) {
	var b bytes.Buffer
	tooLong, lines := false, 0
	field := func(name, value string) {
		lines++
		n, _ := fmt.Fprintf(&b, "%s: %s\r\n", name, value)
		tooLong = tooLong || n-1 > maxLine // folded lines and escapes were shorter
	}
	write := func(name string, p Party) error {
		switch {
		case p == Party{}:
		case strings.ContainsAny(p.URI, "<> \\\"") || strings.ContainsFunc(p.URI, unicode.IsControl) || !utf8.ValidString(p.URI):
			return fmt.Errorf("cpim: %s: invalid uri", name)
		case p.Name == "":
			field(name, "<"+p.URI+">")
		default:
			field(name, `"`+escape(strings.Map(dropQuotes, p.Name))+`" <`+p.URI+">")
		}
		return nil
	}
	if err := errors.Join(write("From", m.From), write("To", m.To)); err != nil {
		return nil, err
	}
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
		if !isToken(h.Name) || strings.ContainsAny(h.Namespace, "<>\\ ") || strings.ContainsFunc(h.Namespace, unicode.IsControl) || !utf8.ValidString(h.Namespace) || h.Namespace == "" && (h.Name == "NS" || h.Name == "Require") {
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
	field("Content-Length", strconv.FormatInt(size, 10))
	if tooLong {
		return nil, fmt.Errorf("cpim: a header line of more than %d octets", maxLine)
	}
	if lines > maxHeaders { // namespaces and the content's length may be new
		return nil, fmt.Errorf("cpim: more than %d headers", maxHeaders)
	}
	b.WriteString("\r\n")
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
	if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' && r != '\t' }) {
		return "", false
	}
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
			break // RFC 3862 §2.3.1: an isolated backslash at the end is ignored
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
			n, ok := codeUnit(s[i+1:])
			if !ok {
				b.WriteByte('u') // RFC 3862 §2.3.1: an escape that nobody knows is the character behind the backslash
				break
			}
			i += 4
			if utf16.IsSurrogate(n) && strings.HasPrefix(s[i+1:], `\u`) { // some write two, as in JSON
				if low, ok := codeUnit(s[i+3:]); ok && utf16.DecodeRune(n, low) != utf8.RuneError {
					n, i = utf16.DecodeRune(n, low), i+6
				}
			}
			b.WriteRune(n)
		default: // \\ \" \' and any other character stand for themselves
			b.WriteByte(s[i])
		}
	}
	return b.String(), utf8.ValidString(b.String())
}

// codeUnit reads the four digits of a \u.
func codeUnit(s string) (rune, bool) {
	if len(s) < 4 {
		return 0, false
	}
	n, err := strconv.ParseUint(s[:4], 16, 16)
	return rune(n), err == nil
}
