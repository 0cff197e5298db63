package presence

import (
	"net/url"
	"slices"
	"strings"

	"github.com/emiago/sipgo/sip"
)

// Feature tags and identifiers of RCS (PROTOCOLS B3.03). In a tag the identifiers are
// percent-encoded and joined by commas inside the quotes.
const (
	iariTag = "+g.3gpp.iari-ref" // TS 24.229 §7.9.3 (unverified)
	icsiTag = "+g.3gpp.icsi-ref" // TS 24.229 §7.9.2
	imTag   = "+g.oma.sip-im"    // OMA SIMPLE IM

	iariChat     = "urn:urn-7:3gpp-application.ims.iari.rcse.im"
	iariFile     = "urn:urn-7:3gpp-application.ims.iari.rcse.ft"
	iariFileHTTP = "urn:urn-7:3gpp-application.ims.iari.rcs.fthttp"
	icsiSession  = "urn:urn-7:3gpp-service.ims.icsi.oma.cpm.session"
	icsiMessage  = "urn:urn-7:3gpp-service.ims.icsi.oma.cpm.msg"
	icsiLarge    = "urn:urn-7:3gpp-service.ims.icsi.oma.cpm.largemsg"
	icsiFile     = "urn:urn-7:3gpp-service.ims.icsi.oma.cpm.filetransfer"
)

// maxIdentifiers bounds what is kept of one peer's tags.
const maxIdentifiers = 64

// Tags are what a client says of itself in a Contact (RFC 3840): which applications (IARI) and
// services (ICSI) it has.
type Tags struct {
	IARI []string // decoded, lower case: urn:urn-7:3gpp-application.ims.iari.rcse.im
	ICSI []string
	IM   bool // +g.oma.sip-im
}

// OwnTags are what the gateway advertises for its guests: 1-to-1 chat, files over MSRP and over HTTP (PROTOCOLS B3.02), and messages
// outside of a chat (PROTOCOLS B2.13), which a core that goes by RFC 3841 brings to contacts with their tag only.
func OwnTags() Tags {
	return Tags{IARI: []string{iariChat, iariFile, iariFileHTTP}, ICSI: []string{icsiSession, icsiMessage, icsiLarge}, IM: true}
}

// Chat reports whether the client can chat: by the identifier of RCS-e, by that of CPM, or,
// for old peers, by the tag of SIMPLE IM (PROTOCOLS B5.01).
func (t Tags) Chat() bool {
	return slices.Contains(t.IARI, iariChat) || slices.Contains(t.ICSI, icsiSession) || t.IM
}

// File reports whether the client takes files, over MSRP or HTTP.
func (t Tags) File() bool { return t.FileMSRP() || t.FileHTTP() }

// FileMSRP reports whether the client takes files over MSRP (RFC 5547): by the identifier of RCS-e, or by that of CPM.
func (t Tags) FileMSRP() bool {
	return slices.Contains(t.IARI, iariFile) || slices.Contains(t.ICSI, icsiFile)
}

// FileHTTP reports whether the client takes files over HTTP.
func (t Tags) FileHTTP() bool { return slices.Contains(t.IARI, iariFileHTTP) }

// Params are the tags as parameters of a Contact in REGISTER and in requests of a service.
func (t Tags) Params() sip.HeaderParams {
	p := t.Capabilities()
	if t.IM {
		p.Add(imTag, "")
	}
	return p
}

// Capabilities are the tags as parameters of a Contact in OPTIONS and its answer, where
// +g.oma.sip-im does not belong (PROTOCOLS B5.01).
func (t Tags) Capabilities() sip.HeaderParams {
	p := sip.NewParams()
	if len(t.IARI) > 0 {
		p.Add(iariTag, quote(t.IARI))
	}
	if len(t.ICSI) > 0 {
		p.Add(icsiTag, quote(t.ICSI))
	}
	return p
}

// String is the tags as text, as ParseTags reads it.
func (t Tags) String() string {
	p := t.Params()
	return p.ToString(';')
}

func quote(ids []string) string {
	escaped := make([]string, len(ids))
	for i, id := range ids {
		escaped[i] = url.QueryEscape(id)
	}
	return `"` + strings.Join(escaped, ",") + `"`
}

// ParseTags reads parameters of a Contact: `+g.3gpp.iari-ref="urn%3A…,urn%3A…";+g.oma.sip-im`.
// What it doesn't know or can't read it passes over.
func ParseTags(params string) Tags {
	var t Tags
	for params != "" {
		var name, value string
		name, value, params = nextParam(params)
		switch strings.ToLower(name) {
		case iariTag:
			t.IARI = appendIdentifiers(t.IARI, value)
		case icsiTag:
			t.ICSI = appendIdentifiers(t.ICSI, value)
		case imTag:
			// RFC 3840 §9: a tag without value is true; ="FALSE" says no.
			t.IM = !strings.EqualFold(strings.TrimSpace(value), "false")
		}
	}
	return t
}

// nextParam cuts the first parameter off. value is without its quotes.
func nextParam(s string) (name, value, rest string) {
	end := strings.IndexAny(s, ";=")
	if end < 0 {
		return strings.TrimSpace(s), "", ""
	}
	name = strings.TrimSpace(s[:end])
	if s[end] == ';' {
		return name, "", s[end+1:]
	}
	s = strings.TrimLeft(s[end+1:], " \t")
	if !strings.HasPrefix(s, `"`) {
		value, rest, _ = strings.Cut(s, ";")
		return name, value, rest
	}
	i := 1
	for i < len(s) && s[i] != '"' {
		if s[i] == '\\' { // RFC 3261 §25.1: quoted-pair
			i++
		}
		i++
	}
	value = s[1:min(i, len(s))]
	_, rest, _ = strings.Cut(s[min(i, len(s)):], ";")
	return name, value, rest
}

func appendIdentifiers(all []string, list string) []string {
	for id := range strings.SplitSeq(list, ",") {
		// RFC 3840 §9: a string value stands in <>.
		id = strings.Trim(strings.TrimSpace(id), "<>")
		decoded, err := url.QueryUnescape(id)
		if err != nil || decoded == "" || len(all) == maxIdentifiers {
			continue
		}
		decoded = strings.ToLower(decoded)
		if strings.ContainsFunc(decoded, notURN) || slices.Contains(all, decoded) {
			continue
		}
		all = append(all, decoded)
	}
	return all
}

// notURN reports characters that no identifier has (RFC 8141 §2).
func notURN(c rune) bool {
	return c <= ' ' || c > '~' || strings.ContainsRune("\"<>\\^`{|},", c)
}

// tagsOf are the tags in all Contacts of a response.
func tagsOf(res *sip.Response) Tags {
	var text strings.Builder
	for _, h := range res.GetHeaders("Contact") {
		c, ok := h.(*sip.ContactHeader)
		if !ok {
			continue
		}
		// sipgo cuts parameters at ; and = even inside quotes; put together again they are the text
		// as it came.
		for _, p := range c.Params {
			text.WriteByte(';')
			text.WriteString(p.K)
			if p.V != "" {
				text.WriteByte('=')
				text.WriteString(p.V)
			}
		}
	}
	return ParseTags(strings.TrimPrefix(text.String(), ";"))
}
