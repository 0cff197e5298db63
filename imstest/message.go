package imstest

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
)

// Field is a header field of a SIP message.
type Field struct{ Name, Value string }

// Message is a SIP request (Method is set) or response (Status is set).
type Message struct {
	Method, URI string
	Status      int
	Reason      string
	Fields      []Field
	Body        []byte
}

var longNames = map[string]string{
	"v": "Via", "f": "From", "t": "To", "i": "Call-ID", "m": "Contact", "c": "Content-Type", "l": "Content-Length", "k": "Supported", "s": "Subject", "o": "Event",
}

// Get is the first value of a field, "" if there is none.
func (m *Message) Get(name string) string {
	for _, f := range m.Fields {
		if strings.EqualFold(f.Name, name) {
			return f.Value
		}
	}
	return ""
}

// All lists the values of a field; lists in one field are divided for fields that may be lists.
func (m *Message) All(name string) []string {
	var all []string
	for _, f := range m.Fields {
		if strings.EqualFold(f.Name, name) {
			all = append(all, splitList(f.Value)...)
		}
	}
	return all
}

// splitList divides at commas outside of quotes and angle brackets.
func splitList(v string) []string {
	var all []string
	depth, quoted, start := 0, false, 0
	for i := 0; i < len(v); i++ {
		switch c := v[i]; {
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '<':
			depth++
		case c == '>':
			depth--
		case c == ',' && depth == 0:
			all = append(all, strings.TrimSpace(v[start:i]))
			start = i + 1
		}
	}
	return append(all, strings.TrimSpace(v[start:]))
}

// Add appends a field.
func (m *Message) Add(name, value string) *Message {
	m.Fields = append(m.Fields, Field{name, value})
	return m
}

// Push puts a field in front.
func (m *Message) Push(name, value string) {
	m.Fields = append([]Field{{name, value}}, m.Fields...)
}

// Del removes all fields of the name.
func (m *Message) Del(name string) {
	kept := m.Fields[:0:0]
	for _, f := range m.Fields {
		if !strings.EqualFold(f.Name, name) {
			kept = append(kept, f)
		}
	}
	m.Fields = kept
}

// Set replaces a field.
func (m *Message) Set(name, value string) *Message {
	m.Del(name)
	return m.Add(name, value)
}

// Pop removes the first value of a list field.
func (m *Message) Pop(name string) string {
	for i, f := range m.Fields {
		if !strings.EqualFold(f.Name, name) {
			continue
		}
		list := splitList(f.Value)
		if len(list) > 1 {
			m.Fields[i].Value = strings.Join(list[1:], ", ")
		} else {
			m.Fields = append(m.Fields[:i:i], m.Fields[i+1:]...)
		}
		return list[0]
	}
	return ""
}

// Clone copies the message.
func (m *Message) Clone() *Message {
	c := *m
	c.Fields = append([]Field{}, m.Fields...)
	return &c
}

// Bytes is the message on the wire.
func (m *Message) Bytes() []byte {
	var b bytes.Buffer
	if m.Method != "" {
		fmt.Fprintf(&b, "%s %s SIP/2.0\r\n", m.Method, m.URI)
	} else {
		fmt.Fprintf(&b, "SIP/2.0 %d %s\r\n", m.Status, m.Reason)
	}
	for _, f := range m.Fields {
		if !strings.EqualFold(f.Name, "Content-Length") {
			fmt.Fprintf(&b, "%s: %s\r\n", f.Name, f.Value)
		}
	}
	fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n", len(m.Body))
	b.Write(m.Body)
	return b.Bytes()
}

// readDatagram reads a message that fills a datagram. Without Content-Length its body is the rest (RFC 3261 §18.3).
func readDatagram(b []byte) (*Message, error) {
	r := bufio.NewReader(bytes.NewReader(bytes.Clone(b)))
	m, err := readMessage(r)
	if err == nil && m.Get("Content-Length") == "" {
		m.Body, err = io.ReadAll(r)
	}
	return m, err
}

// stamp writes into the topmost Via where the request came from (RFC 3261 §18.2.1, RFC 3581 §4).
func (m *Message) stamp(src source) {
	host, port, err := net.SplitHostPort(src.addr)
	if err != nil {
		return
	}
	for i, f := range m.Fields {
		if !strings.EqualFold(f.Name, "Via") {
			continue
		}
		list := splitList(f.Value)
		parts := strings.Split(list[0], ";")
		if parts = slices.DeleteFunc(parts, func(p string) bool { return strings.HasPrefix(strings.TrimSpace(p), "received=") }); len(parts) > 0 {
			for j, p := range parts {
				if strings.TrimSpace(p) == "rport" {
					parts[j] = "rport=" + port
				}
			}
		}
		list[0] = strings.Join(append(parts, "received="+host), ";")
		m.Fields[i].Value = strings.Join(list, ", ")
		return
	}
}

var errSIP = errors.New("not a SIP message")

// readMessage reads one message from a stream; a datagram is a stream of one.
func readMessage(r *bufio.Reader) (*Message, error) {
	line := ""
	for line == "" { // RFC 3261 §7.5: leading empty lines are keep-alives
		l, err := r.ReadString('\n')
		if err != nil {
			return nil, err
		}
		line = strings.TrimRight(l, "\r\n")
	}
	m := &Message{}
	parts := strings.SplitN(line, " ", 3)
	if len(parts) < 3 {
		return nil, errSIP
	}
	if parts[0] == "SIP/2.0" {
		n, err := strconv.Atoi(parts[1])
		if err != nil {
			return nil, errSIP
		}
		m.Status, m.Reason = n, parts[2]
	} else {
		m.Method, m.URI = parts[0], parts[1]
	}
	for {
		l, err := r.ReadString('\n')
		if err != nil {
			return nil, err
		}
		l = strings.TrimRight(l, "\r\n")
		if l == "" {
			break
		}
		if (l[0] == ' ' || l[0] == '\t') && len(m.Fields) > 0 {
			m.Fields[len(m.Fields)-1].Value += " " + strings.TrimSpace(l)
			continue
		}
		name, value, ok := strings.Cut(l, ":")
		if !ok {
			return nil, errSIP
		}
		name = strings.TrimSpace(name)
		if long, ok := longNames[strings.ToLower(name)]; ok {
			name = long
		}
		m.Fields = append(m.Fields, Field{name, strings.TrimSpace(value)})
	}
	if cl := m.Get("Content-Length"); cl != "" {
		n, err := strconv.Atoi(cl)
		if err != nil || n < 0 || n > 1<<20 {
			return nil, errSIP
		}
		m.Body = make([]byte, n)
		if _, err := io.ReadFull(r, m.Body); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// token makes a random name.
func token() string {
	var b [8]byte
	_, _ = rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// param is a parameter of a header value, outside of its angle brackets.
func param(value, name string) string {
	if i := strings.LastIndexByte(value, '>'); i >= 0 {
		value = value[i+1:]
	}
	for p := range strings.SplitSeq(value, ";") {
		n, v, _ := strings.Cut(strings.TrimSpace(p), "=")
		if strings.EqualFold(n, name) {
			if v == "" {
				return "\x00" // present without value
			}
			return strings.Trim(v, `"`)
		}
	}
	return ""
}

// uriOf takes the URI out of a name-addr.
func uriOf(value string) string {
	if i := strings.IndexByte(value, '<'); i >= 0 {
		if end := strings.IndexByte(value[i:], '>'); end > 0 {
			return value[i+1 : i+end]
		}
	}
	u, _, _ := strings.Cut(value, ";")
	return strings.TrimSpace(u)
}

// aor is a URI without port and parameters.
func aor(uri string) string {
	uri, _, _ = strings.Cut(uri, ";")
	if strings.HasPrefix(uri, "tel:") {
		return uri
	}
	at := strings.LastIndexByte(uri, '@')
	host := uri[at+1:]
	if !strings.Contains(host, "]") {
		host, _, _ = strings.Cut(strings.TrimPrefix(strings.TrimPrefix(host, "sip:"), "sips:"), ":")
		if at < 0 {
			return "sip:" + host
		}
	}
	return uri[:at+1] + strings.ToLower(host)
}

// hostPort is where a URI leads, and by which transport.
func hostPort(uri string) (addr, network string) {
	network = "udp"
	u, params, _ := strings.Cut(uri, ";")
	for p := range strings.SplitSeq(params, ";") {
		if n, v, _ := strings.Cut(p, "="); strings.EqualFold(n, "transport") && v != "" {
			network = strings.ToLower(v)
		}
	}
	u = u[strings.IndexByte(u, ':')+1:]
	u = u[strings.LastIndexByte(u, '@')+1:]
	if !strings.Contains(u, ":") || strings.HasSuffix(u, "]") {
		u += ":5060"
	}
	return u, network
}
