package sipua

import (
	"bytes"
	"hash/maphash"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Limits of one message.
const (
	maxMessage = 65535 // bytes, first line to body
	maxFields  = 256   // header fields
)

// letter is a message as it came, cut into first line, fields and body, before sipgo's parser sees it. sipgo reads leniently what RFC 3261
// forbids, and can't read some of what it allows; so each letter is screened, and one that is out of the ordinary but right is written again
// in ordinary form. One reader owns a letter and uses it again and again.
type letter struct {
	method, target, version []byte // of a request
	status                  int    // of a response; 0: it is a request
	fields                  []field
	body                    []byte
	first                   []byte // the line
	tooMany                 bool
	wrong                   string // what the cut found; "": nothing
	fold                    []byte // storage of unfolded values
	again                   []byte // storage of a letter that was written again
	odd                     bool   // must be written again
	number                  uint32 // of a request that was let in
	came                    time.Time
}

// field is one header field line, unfolded.
type field struct {
	kind        kind
	name, value []byte
}

// kind tells the fields apart that are looked at.
type kind byte

const (
	kindOther kind = iota
	kindVia
	kindFrom
	kindTo
	kindCallID
	kindCSeq
	kindMaxForwards
	kindContentLength
	kindContentType
	kindContact
	kindRoute
	kindPriority
	kindOnce // others that stand once at most; each has a kind of its own from here on
)

// kinds are the names of the fields that are looked at, in lower case, and the short ones (§7.3.3, §20).
var kinds = func() map[string]kind {
	m := map[string]kind{
		"via": kindVia, "v": kindVia, "from": kindFrom, "f": kindFrom, "to": kindTo, "t": kindTo, "call-id": kindCallID, "i": kindCallID, "cseq": kindCSeq,
		"max-forwards": kindMaxForwards, "content-length": kindContentLength, "l": kindContentLength, "content-type": kindContentType, "c": kindContentType,
		"contact": kindContact, "m": kindContact, "route": kindRoute, "record-route": kindRoute, "path": kindRoute, "service-route": kindRoute, "resource-priority": kindPriority,
	}
	for i, names := range []string{
		"expires", "min-expires", "event o", "session-expires x", "min-se", "rseq", "rack", "subscription-state", "refer-to r", "referred-by b", "replaces",
		"mime-version", "timestamp", "content-disposition", "sip-if-match", "sip-etag", "subject s", "date", "priority", "organization",
	} {
		for _, name := range strings.Fields(names) {
			m[name] = kindOnce + kind(i)
		}
	}
	return m
}()

func kindOf(name []byte) kind {
	var lower [24]byte
	if len(name) > len(lower) {
		return kindOther
	}
	for i, c := range name {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		lower[i] = c
	}
	return kinds[string(lower[:len(name)])]
}

// cut takes a message apart. It reports false where data is no SIP message at all, which nobody can answer.
func (l *letter) cut(data []byte) bool {
	*l = letter{fields: l.fields[:0], fold: l.fold[:0], again: l.again[:0]}
	line, rest, ended := nextLine(data)
	if !ended || !l.start(line) {
		return false
	}
	for {
		line, rest, ended = nextLine(rest)
		switch {
		case !ended:
			l.note("header without end")
			return true
		case len(line) == 0:
			l.body = rest
			return true
		case blank(line[0]):
			l.unfold(line)
			continue
		}
		name, value, has := bytes.Cut(line, []byte(":"))
		name = bytes.TrimRight(name, " \t")
		switch {
		case !has || !all(name, isToken):
			l.note("line that is no header field")
			continue
		case len(l.fields) >= maxFields:
			l.tooMany = true
			continue
		}
		l.fields = append(l.fields, field{kindOf(name), name, trim(value)})
	}
}

// nextLine takes a line off. Only CRLF ends one (§7).
func nextLine(b []byte) (line, rest []byte, ended bool) {
	i := bytes.Index(b, []byte("\r\n"))
	if i < 0 {
		return b, nil, false
	}
	return b[:i], b[i+2:], true
}

func (l *letter) note(wrong string) {
	if l.wrong == "" {
		l.wrong = wrong
	}
}

// unfold adds a line to the value of the field before it, with one blank (§7.3.1).
func (l *letter) unfold(line []byte) {
	l.odd = true
	if len(l.fields) == 0 {
		l.note("folded line without a field")
		return
	}
	f := &l.fields[len(l.fields)-1]
	start := len(l.fold)
	if n := len(f.value); n > 0 && start >= n && &l.fold[start-n] == &f.value[0] {
		start -= n // the value stands there already
	} else {
		l.fold = append(l.fold, f.value...)
	}
	if more := trim(line); len(more) > 0 {
		if len(l.fold) > start {
			l.fold = append(l.fold, ' ')
		}
		l.fold = append(l.fold, more...)
	}
	f.value = l.fold[start:]
}

// start reads the first line.
func (l *letter) start(line []byte) bool {
	l.first = line
	if len(line) > 4 && bytes.EqualFold(line[:4], []byte("SIP/")) {
		version, rest, _ := bytes.Cut(line, []byte(" "))
		code, _, spaced := bytes.Cut(rest, []byte(" ")) // also before an empty reason
		n, ok := number(code, 699)
		if !ok || !spaced || n < 100 || len(code) != 3 || !isVersion(version) {
			return false
		}
		l.version, l.status = version, int(n)
		if !bytes.HasPrefix(line, []byte("SIP/")) { // §7.1: in any case; sipgo knows one
			l.first, l.odd = append([]byte("SIP"), line[3:]...), true
		}
		return true
	}
	space := bytes.LastIndexByte(bytes.TrimRight(line, " "), ' ')
	if space < 0 || !isVersion(bytes.TrimRight(line[space+1:], " ")) {
		return false
	}
	if last := line[len(line)-1]; last == ' ' {
		l.note("blank after the version") // RFC 4475 §3.1.2.10
	}
	l.version = bytes.TrimRight(line[space+1:], " ")
	var found bool
	if l.method, l.target, found = bytes.Cut(line[:space], []byte(" ")); !found || !all(l.method, isToken) {
		return false
	}
	return true
}

// isVersion reports whether b is a SIP-Version of any number.
func isVersion(b []byte) bool {
	if len(b) < 7 || !bytes.EqualFold(b[:4], []byte("SIP/")) {
		return false
	}
	major, minor, ok := bytes.Cut(b[4:], []byte("."))
	return ok && all(major, isDigit) && all(minor, isDigit)
}

// get is the first field of a kind.
func (l *letter) get(k kind) []byte {
	for _, f := range l.fields {
		if f.kind == k {
			return f.value
		}
	}
	return nil
}

// check says with which code a letter is refused, 0 if it is right. bounded: it ends with its body, as a datagram does; in a
// stream the length has been looked at by then.
func (l *letter) check(bounded bool) (code int, why string) {
	if !bytes.EqualFold(l.version, []byte("SIP/2.0")) {
		return 505, "Version Not Supported" // §21.5.7
	}
	if code, why = l.checkFields(bounded); code != 0 || l.status != 0 {
		return code, why
	}
	return l.checkTarget()
}

func badRequest(why string) (int, string) { return 400, "Bad Request - " + why }

// checkTarget looks at what only requests have.
func (l *letter) checkTarget() (int, string) {
	wrong, headers := uri(l.target)
	name, _, _ := scheme(l.target)
	switch {
	case wrong != "":
		return badRequest("R-URI: " + wrong)
	case headers:
		return badRequest("R-URI with header fields") // §19.1.1, Table 1
	case !isSIP(name) && !bytes.EqualFold(name, []byte("tel")) && !emergency(string(l.target)):
		return 416, "Unsupported URI Scheme" // §8.2.2.1
	}
	if !bytes.Equal(l.method, bytes.ToUpper(l.method)) {
		return 501, "Not Implemented" // methods are case-sensitive (§7.1), but sipgo would make a known one of it
	}
	return 0, ""
}

// checkFields looks at what every message has (§8.1.1, §20).
func (l *letter) checkFields(bounded bool) (int, string) {
	if l.tooMany {
		return 513, "Message Too Large"
	}
	if l.wrong != "" {
		return badRequest(l.wrong)
	}
	if !clean(l.first) {
		return badRequest("control character")
	}
	var seen [kindOnce + 32]bool
	var method []byte
	length := -1
	for i := range l.fields {
		f := &l.fields[i]
		if !clean(f.value) {
			return badRequest("control character in " + string(f.name))
		}
		if once := f.kind != kindOther && f.kind != kindVia && f.kind != kindContact && f.kind != kindRoute && f.kind != kindPriority; once && seen[f.kind] {
			return badRequest("more than one " + string(f.name))
		}
		seen[f.kind] = true
		wrong := ""
		switch f.kind {
		case kindVia:
			wrong = l.checkVias(f.value)
		case kindFrom, kindTo:
			wrong = checkParty(f.value, f.kind == kindFrom)
		case kindContact, kindRoute:
			if f.kind == kindContact && string(f.value) == "*" {
				break
			}
			wrong = l.checkList(f.value)
		case kindCallID:
			if !all(f.value, isWord) {
				wrong = "illegal"
			}
		case kindCSeq:
			i := bytes.IndexAny(f.value, " \t")
			if i < 0 {
				return badRequest("CSeq without method")
			}
			if _, ok := number(f.value[:i], 1<<31-1); !ok { // §8.1.1.5
				return badRequest("invalid CSeq")
			}
			method = trim(f.value[i:])
		case kindMaxForwards:
			if _, ok := number(f.value, 255); !ok { // §20.22
				wrong = "invalid"
			}
		case kindContentLength:
			n, ok := number(f.value, 1<<30)
			if !ok {
				return badRequest("invalid Content-Length")
			}
			length = int(n)
		case kindContentType:
			if t, sub, ok := bytes.Cut(f.value[:max(until(f.value, ';'), 0)], []byte("/")); !ok || !all(trim(t), isToken) || !all(trim(sub), isToken) {
				wrong = "illegal"
			}
		}
		if wrong != "" {
			return badRequest(string(f.name) + ": " + wrong)
		}
	}
	for _, must := range []struct {
		kind kind
		name string
	}{{kindVia, "Via"}, {kindFrom, "From"}, {kindTo, "To"}, {kindCallID, "Call-ID"}, {kindCSeq, "CSeq"}} {
		if !seen[must.kind] {
			return badRequest("no " + must.name)
		}
	}
	if !seen[kindContact] && l.status == 0 && string(l.method) == "INVITE" {
		return badRequest("INVITE without Contact") // §8.1.1.8
	}
	if l.status == 0 && !bytes.Equal(method, l.method) { // §8.1.1.5
		if !Recognized(string(l.method)) {
			return 501, "Not Implemented" // RFC 4475 §3.1.2.18
		}
		return badRequest("CSeq method differs")
	}
	if bounded {
		switch {
		case length > len(l.body):
			return badRequest("body shorter than Content-Length") // §18.3
		case length >= 0 && length < len(l.body):
			l.body, l.odd = l.body[:length], true // RFC 4475 §3.1.1.8
		}
	}
	if len(l.body) > 0 && !seen[kindContentType] {
		return badRequest("body without Content-Type") // §20.15
	}
	return 0, ""
}

// checkVias looks at the values of a Via field, which are written one a line if they are several.
func (l *letter) checkVias(b []byte) string {
	for more := false; ; more = true {
		end := until(b, ',')
		if end < 0 {
			return "quoted string without end"
		}
		v, ok := readVia(b[:end])
		if !ok {
			return "illegal"
		}
		if branch, has := v.param("branch"); has && (len(branch) == 0 || bytes.EqualFold(branch, []byte("z9hG4bK"))) {
			return "empty branch" // RFC 4475 §3.2.1
		}
		l.odd = l.odd || more || end < len(b)
		if end == len(b) {
			return ""
		}
		b = b[end+1:]
	}
}

// checkParty looks at From or To.
func checkParty(b []byte, from bool) string {
	a, wrong := readAddress(b)
	if wrong != "" {
		return wrong
	}
	var tag []byte
	tags := 0
	params(a.params, func(name, value []byte) {
		if bytes.EqualFold(name, []byte("tag")) {
			tag = value
			tags++
		}
	})
	switch {
	case tags > 1 || len(tag) > 0 && !all(tag, isToken):
		return "illegal tag"
	case from && len(tag) == 0:
		return "no tag" // §8.1.1.3; a To tag without value is none
	}
	return ""
}

// checkList looks at the addresses of Contact, Route and their like.
func (l *letter) checkList(b []byte) string {
	for {
		end := until(b, ',')
		if end < 0 {
			return "quoted string or bracket without end"
		}
		if _, wrong := readAddress(b[:end]); wrong != "" {
			return wrong
		}
		if end == len(b) {
			return ""
		}
		b = b[end+1:]
	}
}

// clean reports whether there is no control character but in a quoted pair (§25.1); a CR or LF alone would begin a new field for others (S7).
func clean(b []byte) bool {
	for i, c := range b {
		if c < ' ' && c != '\t' || c == 0x7f {
			if i == 0 || b[i-1] != '\\' || c == '\r' || c == '\n' {
				return false
			}
		}
	}
	return true
}

// Recognized reports whether a method is one that a specification of ours knows; of others we say 501, not 405 (§8.2.1, §21.5.2).
func Recognized(method string) bool {
	switch method {
	case "INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "REGISTER", "PRACK", "SUBSCRIBE", "NOTIFY", "PUBLISH", "INFO", "REFER", "MESSAGE", "UPDATE":
		return true
	}
	return false
}

// write appends the letter in ordinary form: nothing folded, one Via a line, the body as long as it says.
func (l *letter) write(to []byte) []byte {
	to = append(append(to, l.first...), "\r\n"...)
	line := func(name, value []byte) {
		to = append(append(append(append(to, name...), ": "...), value...), "\r\n"...)
	}
	for _, f := range l.fields {
		if f.kind != kindVia {
			line(f.name, f.value)
			continue
		}
		for b := f.value; ; {
			end := until(b, ',')
			line(f.name, trim(b[:end]))
			if end == len(b) {
				break
			}
			b = b[end+1:]
		}
	}
	return append(append(to, "\r\n"...), l.body...)
}

// topVia is the first Via value, and whether it can be read.
func (l *letter) topVia() (raw []byte, v via, ok bool) {
	raw = l.get(kindVia)
	end := until(raw, ',')
	if end < 0 {
		return raw, v, false
	}
	v, ok = readVia(raw[:end])
	return trim(raw[:end]), v, ok
}

var tagSeed = maphash.MakeSeed()

// refusal is a response that needs no transaction (§8.2.7): what comes again is refused again, with the same tag. port is where it
// goes to; 0: where the request came from. overload is nil unless that is why.
func (l *letter) refusal(code int, reason, agent string, source netip.AddrPort, overload *verdict) (text []byte, port int) {
	text = append(text, "SIP/2.0 "+strconv.Itoa(code)+" "+reason+"\r\n"...)
	srcHost, srcPort := source.Addr().String(), strconv.Itoa(int(source.Port()))
	raw, top, ok := l.topVia()
	tag := uint64(0)
	topmost := true
	for n, k := 0, 0; k < len(l.fields); k++ {
		f := l.fields[k]
		isTop := topmost && f.kind == kindVia
		topmost = topmost && !isTop
		switch f.kind {
		case kindVia, kindFrom, kindTo, kindCallID, kindCSeq:
		default:
			continue
		}
		if f.kind != kindVia && n&(1<<f.kind) != 0 || !clean(f.value) {
			continue // one of each is enough to be told apart
		}
		value := f.value
		if isTop && ok {
			// §18.2.1, RFC 3581 §4
			_, rport := top.param("rport")
			received := ""
			if rport || string(bytes.Trim(top.host, "[]")) != srcHost {
				received = ";received=" + srcHost
			}
			own := string(raw)
			if rport {
				own = setParam(own, "rport", srcPort)
			} else {
				port = top.portOr(5060)
			}
			if overload != nil {
				for _, p := range overload.told {
					own = setParam(own, p[0], p[1])
				}
			}
			value = append([]byte(own+received), f.value[len(raw):]...)
		}
		n |= 1 << f.kind
		tag ^= maphash.Bytes(tagSeed, f.value)
		text = append(append(append(append(text, f.name...), ": "...), value...), "\r\n"...)
		if f.kind == kindTo && code > 100 {
			if a, wrong := readAddress(f.value); wrong != "" || !bytes.Contains(bytes.ToLower(a.params), []byte("tag")) {
				text = append(text[:len(text)-2], ";tag="+strconv.FormatUint(tag|1<<60, 36)+"\r\n"...)
			}
		}
	}
	if agent != "" {
		text = append(text, "Server: "+agent+"\r\n"...)
	}
	if overload != nil && overload.retry {
		text = append(text, "Retry-After: "+askAgain+"\r\n"...)
	}
	return append(text, "Content-Length: 0\r\n\r\n"...), port
}

// setParam gives a Via's parameter a value, and the Via the parameter if it has none.
func setParam(via, name, value string) string {
	for i := 0; i < len(via); i++ {
		switch {
		case via[i] == '"':
			i += max(quoted([]byte(via[i:]))-1, 0)
		case via[i] == ';':
			rest := strings.TrimLeft(via[i+1:], " \t")
			end := max(until([]byte(rest), ';'), 0)
			if n, _, _ := strings.Cut(rest[:end], "="); strings.EqualFold(strings.TrimSpace(n), name) {
				return via[:i] + ";" + name + "=" + value + rest[end:]
			}
		}
	}
	return via + ";" + name + "=" + value
}
