package b2bua

import (
	"github.com/emiago/sipgo/sip"

	"latchkey/internal/dialog"
	"latchkey/internal/sipua"
)

// Asserted lists the caller's identities that a trusted neighbour asserts (RFC 3325 §5). It is empty
// when the INVITE came from anybody else, whatever it says.
func (in *Incoming) Asserted() []string { return in.engine.Asserted(in.t.Request) }

// Asserted lists the URIs of P-Asserted-Identity of a request from a trusted host.
func (g *Engine) Asserted(req *sip.Request) []string {
	if !g.Trusts(req) {
		return nil
	}
	var uris []string
	for _, h := range req.GetHeaders("P-Asserted-Identity") {
		for _, v := range dialog.Split(h.Value()) {
			if u := dialog.URI(v); u != "" {
				uris = append(uris, u)
			}
		}
	}
	return uris
}

// Charging is the P-Charging-Vector of what we send within the call's dialog: the icid that a trusted neighbour gave the INVITE, and our
// own type 3 orig-ioi, "" for none (TS 24.229 §5.7.2, PROTOCOLS B1.13). It is empty where the INVITE has none.
func (in *Incoming) Charging(ioi string) []Field {
	if !in.engine.Trusts(in.t.Request) {
		return nil
	}
	v := readVector(in.Header("P-Charging-Vector"))
	if v.get("icid-value") == "" || !sipua.Clean(v.String()) {
		return nil
	}
	v.del("term-ioi")
	v.del("orig-ioi")
	if ioi != "" {
		v.set("orig-ioi", ioi)
	}
	return []Field{{"P-Charging-Vector", v.String()}}
}

// Called lists the URIs that may name the one who is called, most telling first: P-Called-Party-ID
// of a trusted neighbour (RFC 7315 §4.2: the R-URI before the registrar changed it), the R-URI and To.
func (in *Incoming) Called() []string { return in.engine.Called(in.t.Request) }

// Called is Incoming.Called for any request.
func (g *Engine) Called(req *sip.Request) []string {
	var uris []string
	if h := req.GetHeader("P-Called-Party-ID"); h != nil && g.Trusts(req) {
		if u := dialog.URI(h.Value()); u != "" {
			uris = append(uris, u)
		}
	}
	return append(uris, req.Recipient.String(), req.To().Address.String())
}
