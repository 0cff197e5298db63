package sipua

import (
	"sync/atomic"
	"time"

	"github.com/emiago/sipgo/sip"
)

// Transaction is a request that arrived, with the way to answer it.
type Transaction struct {
	Request  *sip.Request
	Tag      string // our To tag, which Request has by now, where this is an INVITE that came without one
	tx       *serverTx
	endpoint *Endpoint
	waited   time.Duration // from its coming to its beginning
	final    atomic.Bool   // a final response was sent
}

// Respond sends a response without a body. A To tag is added where none is (RFC 3261 §8.2.6.2).
func (t *Transaction) Respond(code int, reason string, headers ...sip.Header) error {
	res := t.Response(code, reason)
	for _, h := range headers {
		res.AppendHeader(h)
	}
	return t.Send(res)
}

// Response makes a response to the request, to be completed and sent by Send.
func (t *Transaction) Response(code int, reason string) *sip.Response {
	if reason == "" {
		reason = Reason(code)
	}
	res := untag(sip.NewResponseFromRequest(t.Request, code, reason, nil), t.Request)
	res.SipVersion = "SIP/2.0" // sipgo repeats the request's, also in a 505
	if t.endpoint != nil {
		t.endpoint.tell(res)
	}
	if t.endpoint != nil && t.endpoint.agent != "" && code > 100 {
		res.AppendHeader(sip.NewHeader("Server", t.endpoint.agent))
	}
	return res
}

// Send sends a response that Response made.
func (t *Transaction) Send(res *sip.Response) error {
	// RFC 3261 §20.14: over a stream the length must be there; SetBody writes it.
	if res.ContentLength() == nil {
		res.SetBody(res.Body())
	}
	if !res.IsProvisional() {
		t.final.Store(true)
	}
	return asError(t.tx.respond(res))
}

// Shed refuses a request under overload that can wait, as REGISTER does: it is for those whose worth only their room can tell, such as an OPTIONS
// that is not answered here, but makes work for others, too. It reports whether the request has its answer.
func (t *Transaction) Shed() bool {
	req := t.Request
	_, within := req.To().Params.Get("tag")
	if worth(string(req.Method), within, req.GetHeader("Resource-Priority") != nil, req.Recipient.String()) == classKept {
		return false
	}
	heeds := req.Via() != nil && asksOC(req.Via())
	if !t.endpoint.load.late(string(req.Method), heeds, t.waited) {
		return false
	}
	var again []sip.Header
	if !heeds { // who does is told by oc, which Retry-After would contradict
		again = append(again, sip.NewHeader("Retry-After", askAgain))
	}
	_ = t.Respond(503, "", again...)
	return true
}

// OnCancel calls f when the peer cancels the request. The CANCEL has its answer, and the 487 follows by itself.
// It reports false if that has happened already. f runs under the transaction's lock, which
// every response takes, too: it must not wait for anything.
func (t *Transaction) OnCancel(f func(cancel *sip.Request)) bool { return t.tx.whenCancelled(f) }

// OnEnd calls f when the transaction is over, be it that its connection closed. f must not wait for anything.
// It reports false if that has happened already.
func (t *Transaction) OnEnd(f func()) bool { return t.tx.whenOver(f) }

// Reason is the standard phrase of a response code (RFC 3261 §21 and its extensions).
func Reason(code int) string {
	if r, ok := reasons[code]; ok {
		return r
	}
	switch {
	case code < 200:
		return "Session Progress"
	case code < 300:
		return "OK"
	case code < 400:
		return "Redirected"
	case code < 500:
		return "Request Failure"
	case code < 600:
		return "Server Failure"
	}
	return "Global Failure"
}

var reasons = map[int]string{
	100: "Trying", 180: "Ringing", 183: "Session Progress", 200: "OK", 202: "Accepted",
	400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed", 406: "Not Acceptable",
	408: "Request Timeout", 410: "Gone", 413: "Request Entity Too Large", 415: "Unsupported Media Type", 416: "Unsupported URI Scheme",
	420: "Bad Extension", 422: "Session Interval Too Small", 423: "Interval Too Brief", 480: "Temporarily Unavailable",
	481: "Call/Transaction Does Not Exist", 482: "Loop Detected", 483: "Too Many Hops", 484: "Address Incomplete", 486: "Busy Here",
	487: "Request Terminated", 488: "Not Acceptable Here", 489: "Bad Event", 491: "Request Pending", 500: "Server Internal Error",
	501: "Not Implemented", 502: "Bad Gateway", 503: "Service Unavailable", 504: "Server Time-out", 505: "Version Not Supported",
	513: "Message Too Large", 600: "Busy Everywhere", 603: "Decline", 604: "Does Not Exist Anywhere",
}
