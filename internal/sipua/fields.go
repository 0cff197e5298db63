package sipua

import (
	"maps"

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
	return sip.NewParser(sip.WithHeadersParsers(all))
}
