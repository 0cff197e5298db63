package sipua

import (
	"bytes"
	"maps"
	"strconv"

	"github.com/emiago/sipgo/sip"
)

// compact are the short names of fields which sipgo leaves as they are (RFC 3261 §7.3.3; the IANA registry has the later ones).
var compact = map[string]string{
	"a": "Accept-Contact", "b": "Referred-By", "d": "Request-Disposition", "e": "Content-Encoding", "j": "Reject-Contact", "k": "Supported",
	"n": "Identity-Info", "o": "Event", "r": "Refer-To", "s": "Subject", "u": "Allow-Events", "x": "Session-Expires", "y": "Identity",
}

// verbatim are fields that others read back byte for byte: in a Route stands what an S-CSCF needs to find a request's place in its
// chain again, in whatever form it likes. sipgo reads them when asked to (sip.Request.Route).
var verbatim = []string{"Route", "Refer-To", "Referred-By"}

// newParser makes sipgo's parser with fields as they came, under their long names.
func newParser() *sip.Parser {
	all := maps.Clone(sip.DefaultHeadersParser())
	as := func(name string) sip.HeaderParser {
		return func(_ []byte, text string) (sip.Header, error) { return sip.NewHeader(name, text), nil }
	}
	for _, name := range verbatim {
		all[sip.HeaderToLower(name)] = as(name)
	}
	for short, name := range compact {
		all[short] = as(name)
	}
	own(all)
	keep(all)
	return sip.NewParser(sip.WithHeadersParsers(all))
}

// own replaces sipgo's reading of fields of one value, which knows nothing of quoted strings in parameters: a tag in one would be taken for
// the dialog's, and a comma, as an oc-algo has it (RFC 7339 §4.2), for the end. Several values in one are left to sipgo; the screen has
// written Vias one a line.
func own(all sip.HeadersParser) {
	for _, names := range [][2]string{{"via", "v"}, {"from", "f"}, {"to", "t"}, {"contact", "m"}, {"cseq", "cseq"}} {
		theirs := all[names[0]]
		ours := func(name []byte, text string) (sip.Header, error) {
			if h := parseField(names[0], []byte(text)); h != nil {
				return h, nil
			}
			return theirs(name, text)
		}
		all[names[0]], all[names[1]] = ours, ours
	}
}

// parseField reads a field; nil: it can't be read so.
func parseField(name string, text []byte) sip.Header {
	if name == "cseq" {
		i := bytes.IndexAny(text, " \t")
		if i < 0 {
			return nil
		}
		n, ok := number(text[:i], 1<<31-1)
		if !ok {
			return nil
		}
		return &sip.CSeqHeader{SeqNo: uint32(n), MethodName: sip.RequestMethod(trim(text[i:]))}
	}
	var fields sip.HeaderParams
	add := func(name, value []byte) {
		if len(value) > 1 && value[0] == '"' && bytes.ContainsAny(value, " \t") {
			value = value[1 : len(value)-1] // sipgo writes quotes around what has blanks, whether it has some or not
		}
		fields.Add(string(name), string(value))
	}
	if name == "via" {
		if until(text, ',') != len(text) {
			return nil
		}
		v, ok := readVia(text)
		if !ok {
			return nil
		}
		fields = make(sip.HeaderParams, 0, 4)
		params(v.params, add)
		port, _ := strconv.Atoi(string(v.port))
		return &sip.ViaHeader{
			ProtocolName: string(v.name), ProtocolVersion: string(v.version), Transport: string(v.transport), Host: string(bytes.Trim(v.host, "[]")), Port: port, Params: fields,
		}
	}
	a, wrong := readAddress(text)
	if wrong != "" || until(text, ',') != len(text) {
		return nil
	}
	params(a.params, add)
	var u sip.Uri
	if sip.ParseUri(string(a.uri), &u) != nil || u.Wildcard {
		return nil
	}
	display := string(a.display)
	if n := len(display); n > 1 && display[0] == '"' {
		display = display[1 : n-1] // sipgo puts the quotes back
	}
	switch name {
	case "from":
		return &sip.FromHeader{DisplayName: display, Address: u, Params: fields}
	case "contact":
		return &sip.ContactHeader{DisplayName: display, Address: u, Params: fields}
	}
	return &sip.ToHeader{DisplayName: display, Address: u, Params: fields}
}

// keep makes a plain field of one that sipgo can't read, which would make it drop the message without a word.
func keep(all sip.HeadersParser) {
	for _, name := range []string{"Contact", "Record-Route"} {
		theirs := all[sip.HeaderToLower(name)]
		all[sip.HeaderToLower(name)] = func(short []byte, text string) (sip.Header, error) {
			h, err := theirs(short, text)
			if err != nil && err.Error() != "comma detected" { // sipgo's way to say that there is one more
				return sip.NewHeader(name, text), nil
			}
			return h, err
		}
	}
	all["m"] = all["contact"]
}
