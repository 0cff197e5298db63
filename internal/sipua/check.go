package sipua

import (
	"strings"

	"github.com/emiago/sipgo/sip"
)

// Check is the strict look at a request before any room sees it. It returns 0, or the
// code and reason of the refusal. sipgo parses leniently; what it lets through and RFC
// 3261 does not is caught here.
func Check(req *sip.Request) (code int, reason string) {
	if req.SipVersion != "SIP/2.0" {
		return 505, "Version Not Supported" // §21.5.7
	}
	// §8.1.1: the fields that every request has, each once.
	for _, name := range []string{"From", "To", "Call-ID", "CSeq", "Max-Forwards", "Content-Length", "Content-Type"} {
		if len(req.GetHeaders(name)) > 1 {
			return badRequest("more than one " + name)
		}
	}
	via, from, to, callID, cseq := req.Via(), req.From(), req.To(), req.CallID(), req.CSeq()
	switch {
	case via == nil:
		return badRequest("no Via")
	case from == nil:
		return badRequest("no From")
	case to == nil:
		return badRequest("no To")
	case callID == nil || callID.Value() == "":
		return badRequest("no Call-ID")
	case cseq == nil:
		return badRequest("no CSeq")
	}
	if strings.TrimSpace(string(cseq.MethodName)) != string(req.Method) {
		return badRequest("CSeq method differs") // §8.1.1.5
	}
	if cseq.SeqNo >= 1<<31 {
		return badRequest("CSeq too large") // §8.1.1.5
	}
	switch scheme := req.Recipient.Scheme; {
	case scheme == "sip", scheme == "sips":
		if req.Recipient.Host == "" {
			return badRequest("R-URI without host")
		}
	case scheme == "tel":
	default:
		return 416, "Unsupported URI Scheme" // §8.2.2.1
	}
	if len(req.Recipient.Headers) > 0 {
		return badRequest("R-URI with header fields") // §19.1.1, Table 1
	}
	if tag, ok := from.Params.Get("tag"); !ok || tag == "" {
		return badRequest("From without tag") // §8.1.1.3
	}
	if branch, _ := via.Params.Get("branch"); branch == "z9hG4bK" {
		return badRequest("empty branch")
	}
	if mf := req.MaxForwards(); mf == nil {
		if h := req.GetHeader("Max-Forwards"); h != nil {
			return badRequest("invalid Max-Forwards")
		}
	} else if mf.Val() > 255 {
		return badRequest("invalid Max-Forwards") // §20.22
	}
	if h := req.GetHeader("Content-Length"); h != nil && req.ContentLength() == nil {
		return badRequest("invalid Content-Length")
	}
	if cl := req.ContentLength(); cl != nil && int(*cl) > len(req.Body()) {
		return badRequest("body shorter than Content-Length") // §18.3
	}
	if len(req.Body()) > 0 && req.GetHeader("Content-Type") == nil {
		return badRequest("body without Content-Type") // §20.15
	}
	if req.Method == sip.INVITE && req.Contact() == nil {
		return badRequest("INVITE without Contact") // §8.1.1.8
	}
	return 0, ""
}

// Fits is the strict look at a response that sipgo found a transaction for. A response that does not
// belong to the request is as good as none (RFC 3261 §8.1.3.3: more than one Via means a misrouted one).
func Fits(req *sip.Request, res *sip.Response) bool {
	from, to, callID := res.From(), res.To(), res.CallID()
	if from == nil || to == nil || callID == nil || len(res.GetHeaders("Via")) != 1 {
		return false
	}
	ours, _ := req.From().Params.Get("tag")
	theirs, _ := from.Params.Get("tag")
	return ours == theirs && callID.Value() == req.CallID().Value()
}
