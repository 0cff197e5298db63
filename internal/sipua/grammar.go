package sipua

import (
	"bytes"
	"net/netip"
	"strconv"
)

// The productions of RFC 3261 §25.1 that decide whether a message is one. They read bytes and allocate nothing
// for what is usual; where peers are known to be lenient without harm, so are we, and a comment says so.

const (
	isToken = 1 << iota // token
	isWord              // what a Call-ID is made of
	isUser              // user and password, escapes aside
	isHost              // hostname
	isHex
	isDigit
	isParam // a parameter's unquoted value, of URIs and fields alike
	isPlain // an absoluteURI's opaque part
)

var chars = func() (t [256]byte) {
	set := func(bits byte, members string) {
		for i := range len(members) {
			t[members[i]] |= bits
		}
	}
	const digits, letters = "0123456789", "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	set(isToken, digits+letters+"-.!%*_+`'~")
	set(isUser, digits+letters+"-_.!~*'()%&=+$,;?/:#[]") // # and brackets are not in §25.1; feature codes and IMPUs have them
	set(isHost, digits+letters+"-._")                    // _ is not in §25.1, but in many names
	set(isHex, digits+"abcdefABCDEF")
	set(isDigit, digits)
	set(isParam, digits+letters+"-_.!~*'()%[]/:&+$`?@{}|^\\#=")
	for c := 0x21; c < 0x7f; c++ {
		t[c] |= isWord // §25.1 has no & = # and the like, but many Call-IDs have
		if c != '<' && c != '>' && c != '"' {
			t[c] |= isPlain
		}
	}
	for c := 0x80; c < 0x100; c++ {
		t[c] |= isParam // UTF-8, as RFC 4475 §3.1.1.2 has it in quotes and some phones without
	}
	return t
}()

// all reports whether b isn't empty and has only characters of a class.
func all(b []byte, bit byte) bool {
	for _, c := range b {
		if chars[c]&bit == 0 {
			return false
		}
	}
	return len(b) > 0
}

func blank(c byte) bool { return c == ' ' || c == '\t' }

// trim takes blanks from both ends.
func trim(b []byte) []byte {
	for len(b) > 0 && blank(b[0]) {
		b = b[1:]
	}
	for len(b) > 0 && blank(b[len(b)-1]) {
		b = b[:len(b)-1]
	}
	return b
}

// number reads 1*DIGIT up to most.
func number(b []byte, most uint64) (n uint64, ok bool) {
	if !all(b, isDigit) {
		return 0, false
	}
	for _, c := range b {
		if n = n*10 + uint64(c-'0'); n > most {
			return 0, false
		}
	}
	return n, true
}

// quoted is the length of the quoted string that b begins with, quotes included; 0 if it has no end.
func quoted(b []byte) int {
	for i := 1; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return 0
}

// until is the index of the first stop outside of quoted strings and brackets, len(b) if there is none, -1 if one of those has no end.
func until(b []byte, stop byte) int {
	bracketed := false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case bracketed:
			bracketed = c != '>'
		case c == '"':
			n := quoted(b[i:])
			if n == 0 {
				return -1
			}
			i += n - 1
		case c == '<':
			bracketed = true
		case c == stop:
			return i
		}
	}
	if bracketed {
		return -1
	}
	return len(b)
}

// params walks generic parameters, *( SEMI token [ EQUAL gen-value ] ), what stands before them cut off. f may be nil.
func params(b []byte, f func(name, value []byte)) bool {
	for b = trim(b); len(b) > 0; {
		if b[0] != ';' {
			return false
		}
		b = b[1:]
		end := until(b, ';')
		if end < 0 {
			return false
		}
		name, value, has := bytes.Cut(b[:end], []byte("="))
		name, value = trim(name), trim(value)
		switch {
		case !all(name, isToken):
			return false
		case !has, len(value) == 0: // an empty value is not in §25.1, but in Routes of some
		case value[0] == '"':
			if quoted(value) != len(value) {
				return false
			}
		case !all(value, isParam):
			return false
		}
		if f != nil {
			f(name, value)
		}
		b = b[end:]
	}
	return true
}

// host reads a host and what may follow it: a port, then the rest.
func host(b []byte) (name, port, rest []byte, ok bool) {
	if len(b) > 0 && b[0] == '[' {
		end := bytes.IndexByte(b, ']')
		if end < 0 || !ipv6(b[1:end]) {
			return nil, nil, nil, false
		}
		name, rest = b[:end+1], b[end+1:]
	} else {
		i := 0
		for i < len(b) && chars[b[i]]&isHost != 0 {
			i++
		}
		name, rest = b[:i], b[i:]
	}
	if len(name) == 0 {
		return nil, nil, nil, false
	}
	after := trim(rest)
	if len(after) == 0 || after[0] != ':' {
		return name, nil, rest, true
	}
	after = trim(after[1:])
	i := 0
	for i < len(after) && chars[after[i]]&isDigit != 0 {
		i++
	}
	if _, ok := number(after[:i], 65535); !ok {
		return nil, nil, nil, false
	}
	return name, after[:i], after[i:], true
}

// ipv6 reads an address of RFC 4291, or one with the colon too many that RFC 3261's grammar asks for (RFC 5118 §4.10).
func ipv6(b []byte) bool {
	a, err := netip.ParseAddr(string(bytes.Replace(b, []byte(":::"), []byte("::"), 1)))
	return err == nil && a.Is6() && a.Zone() == ""
}

// scheme is the URI's, as written, and the rest.
func scheme(uri []byte) (name, rest []byte, ok bool) {
	name, rest, ok = bytes.Cut(uri, []byte(":"))
	if !ok || len(name) == 0 || chars[name[0]]&isToken == 0 || chars[name[0]]&isDigit != 0 {
		return nil, nil, false
	}
	for _, c := range name {
		if !(chars[c]&isHost != 0 && c != '_' || c == '+') {
			return nil, nil, false
		}
	}
	return name, rest, true
}

func isSIP(name []byte) bool {
	return len(name) == 3 && bytes.EqualFold(name, []byte("sip")) || len(name) == 4 && bytes.EqualFold(name, []byte("sips"))
}

// uri says what is wrong with an addr-spec, "" for nothing, and whether it has header fields.
func uri(b []byte) (wrong string, headers bool) {
	name, rest, ok := scheme(b)
	switch {
	case !ok:
		return "URI without scheme", false
	case bytes.ContainsAny(rest, " \t"):
		return "URI with a blank", false
	case !isSIP(name):
		if !all(rest, isPlain) {
			return "URI with illegal characters", false
		}
		return "", false
	}
	if at := bytes.IndexByte(rest, '@'); at >= 0 {
		if user := rest[:at]; !all(user, isUser) || !escapes(user) {
			return "URI with illegal user part", false
		}
		rest = rest[at+1:]
	}
	_, _, rest, ok = host(rest)
	if !ok {
		return "URI with illegal host", false
	}
	rest, fields, headers := bytes.Cut(rest, []byte("?"))
	if len(rest) > 0 && (rest[0] != ';' || !paramsOfURI(rest)) {
		return "URI with illegal parameters", false
	}
	if headers && (!all(fields, isPlain) || !escapes(fields)) || !escapes(rest) {
		return "URI with illegal header fields", headers
	}
	return "", headers
}

// paramsOfURI reports whether all characters are those of parameters and what is between them.
func paramsOfURI(b []byte) bool {
	for _, c := range b {
		if c != ';' && chars[c]&isParam == 0 {
			return false
		}
	}
	return true
}

// escapes reports whether every % begins an escape.
func escapes(b []byte) bool {
	for i, c := range b {
		if c == '%' && (i+2 >= len(b) || chars[b[i+1]]&isHex == 0 || chars[b[i+2]]&isHex == 0) {
			return false
		}
	}
	return true
}

// address is a name-addr or addr-spec with parameters (§20.10).
type address struct {
	display, uri, params []byte // display as written, params from the first semicolon on
	headers              bool   // the URI has header fields
}

// readAddress reads one value of From, To, Contact, Route and their like.
func readAddress(b []byte) (a address, wrong string) {
	b = trim(b)
	open, semicolon := bytes.IndexByte(b, '<'), bytes.IndexByte(b, ';')
	switch {
	case len(b) > 0 && b[0] == '"':
		n := quoted(b)
		if n == 0 {
			return a, "quoted string without end"
		}
		a.display = b[:n]
		if b = trim(b[n:]); len(b) == 0 || b[0] != '<' {
			return a, "display name without URI in brackets"
		}
	case open >= 0 && (semicolon < 0 || open < semicolon):
		a.display, b = trim(b[:open]), b[open:]
		for _, c := range a.display { // UTF-8 is not in §25.1 without quotes, but nothing else can be meant
			if chars[c]&isToken == 0 && !blank(c) && c < 0x80 {
				return a, "display name with illegal characters"
			}
		}
	}
	if len(b) > 0 && b[0] == '<' {
		end := bytes.IndexByte(b, '>')
		if end < 0 {
			return a, "bracket without end"
		}
		a.uri, a.params = b[1:end], trim(b[end+1:])
		if wrong, a.headers = uri(a.uri); wrong != "" {
			return a, wrong
		}
	} else {
		// §20.10: without brackets, what follows a semicolon belongs to the field, and a comma or question mark can't be.
		i := bytes.IndexByte(b, ';')
		if i < 0 {
			i = len(b)
		}
		a.uri, a.params = trim(b[:i]), b[i:]
		if bytes.ContainsAny(a.uri, ",?") {
			return a, "URI that needs brackets"
		}
		if wrong, _ = uri(a.uri); wrong != "" {
			return a, wrong
		}
	}
	if !params(a.params, nil) {
		return a, "illegal parameters"
	}
	return a, ""
}

// via is one value of Via (§20.42).
type via struct {
	name, version, transport, host, port, params []byte
}

// readVia reads one value of Via.
func readVia(b []byte) (v via, ok bool) {
	var rest []byte
	if v.name, rest, ok = bytes.Cut(trim(b), []byte("/")); !ok {
		return v, false
	}
	if v.version, rest, ok = bytes.Cut(rest, []byte("/")); !ok {
		return v, false
	}
	rest = trim(rest)
	i := 0
	for i < len(rest) && chars[rest[i]]&isToken != 0 {
		i++
	}
	if i == len(rest) || !blank(rest[i]) {
		return v, false
	}
	v.name, v.version, v.transport = trim(v.name), trim(v.version), rest[:i]
	if !all(v.name, isToken) || !all(v.version, isToken) || !all(v.transport, isToken) {
		return v, false
	}
	v.host, v.port, v.params, ok = host(trim(rest[i:]))
	if !ok {
		return v, false
	}
	v.params = trim(v.params)
	return v, params(v.params, nil)
}

// param is the value of a Via's parameter.
func (v via) param(name string) (value []byte, has bool) {
	params(v.params, func(n, val []byte) {
		if !has && bytes.EqualFold(n, []byte(name)) {
			value, has = val, true
		}
	})
	return value, has
}

// portOr is the port, or what it is where none is said.
func (v via) portOr(other int) int {
	if n, err := strconv.Atoi(string(v.port)); err == nil && n > 0 {
		return n
	}
	return other
}
