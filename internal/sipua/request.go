package sipua

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/emiago/sipgo/sip"
)

// NewToken makes a random token for tags, branches and Call-IDs.
func NewToken() string {
	var b [12]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// NewRequest makes a request outside of a dialog: R-URI target, From with a fresh tag, To,
// a fresh Call-ID, CSeq 1 and Max-Forwards 70 (RFC 3261 §8.1.1). target, from and to are URIs.
func NewRequest(method sip.RequestMethod, target, from, to string) (*sip.Request, error) {
	var r, f, t sip.Uri
	for _, p := range []struct {
		uri  *sip.Uri
		text string
	}{{&r, target}, {&f, from}, {&t, to}} {
		if !Clean(p.text) || strings.ContainsAny(p.text, " <>\"") {
			return nil, fmt.Errorf("uri %q: not a character of a URI", p.text)
		}
		if err := sip.ParseUri(p.text, p.uri); err != nil {
			return nil, fmt.Errorf("uri %q: %w", p.text, err)
		}
	}
	req := sip.NewRequest(method, r)
	fromParams := sip.NewParams()
	fromParams.Add("tag", NewToken())
	req.AppendHeader(&sip.FromHeader{Address: f, Params: fromParams})
	req.AppendHeader(&sip.ToHeader{Address: t, Params: sip.NewParams()})
	callID := sip.CallIDHeader(NewToken())
	req.AppendHeader(&callID)
	req.AppendHeader(&sip.CSeqHeader{SeqNo: 1, MethodName: method})
	maxForwards := sip.MaxForwardsHeader(70)
	req.AppendHeader(&maxForwards)
	return req, nil
}

// Clean reports whether a text may stand in a header field: a line end in it would begin another field (S7).
func Clean(text string) bool { return !strings.ContainsAny(text, "\r\n\x00") }

// AddRoute appends a Route; uri may stand with or without angle brackets.
func AddRoute(req *sip.Request, uri string) {
	if uri == "" {
		return
	}
	if uri[0] != '<' {
		uri = "<" + uri + ">"
	}
	req.AppendHeader(sip.NewHeader("Route", uri))
}

// LooseRoute is uri with the lr parameter (RFC 3261 §19.1.1), for use in a Route.
func LooseRoute(uri string) string {
	var u sip.Uri
	if err := sip.ParseUri(uri, &u); err != nil {
		return uri
	}
	if !u.UriParams.Has("lr") {
		u.UriParams.Add("lr", "")
	}
	return u.String()
}

// Clone copies a request that is not prepared yet. What was sent belongs to its transaction, which repeats it and
// copies its fields into ACKs, so a changed repeat starts from a copy.
func Clone(req *sip.Request) *sip.Request {
	c := sip.NewRequest(req.Method, *req.Recipient.Clone())
	for _, h := range req.CloneHeaders() {
		c.AppendHeader(h)
	}
	c.SetBody(slices.Clone(req.Body()))
	c.SetDestination(req.MessageData.Destination())
	return c
}

// nextHop is where a request goes: its first Route, or its R-URI (RFC 3261 §8.1.2). The R-URI of one with
// a destination, but no transport, is a strict router (dialog.State.Request).
func nextHop(req *sip.Request) sip.Uri {
	strict := req.MessageData.Destination() != "" && req.MessageData.Transport() == ""
	if r := req.Route(); r != nil && !strict {
		return r.Address
	}
	return req.Recipient
}

func unbracket(host string) string {
	if len(host) > 2 && host[0] == '[' {
		return host[1 : len(host)-1]
	}
	return host
}
