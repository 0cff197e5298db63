package registrar

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"

	"latchkey"
	"latchkey/internal/dialog"
	"latchkey/internal/sipua"
)

// answerWithin bounds the storing of a third-party REGISTER: an S-CSCF that gets no answer in 5 s takes the
// application server for dead (PROTOCOLS B1.04).
const answerWithin = 4 * time.Second

// maxKept bounds each text that is kept of a third-party REGISTER.
const maxKept = 1024

// ServeREGISTER takes a third-party REGISTER: the S-CSCF's word that a user has registered, or is gone
// (TS 24.229 §5.7.1.1). The 200 has the Expires that came, and leaves when the row is on disk.
func (l *Lookout) ServeREGISTER(t *sipua.Transaction) {
	req := t.Request
	if !l.opt.Trusts(req) {
		l.log.Info("third-party REGISTER refused", "source", req.Source())
		_ = t.Respond(sip.StatusForbidden, "") // PROTOCOLS B1.05
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), answerWithin)
	defer cancel()
	s, err := readThirdParty(req)
	if err == nil {
		err = l.take(ctx, s)
	}
	switch {
	case err == nil:
		seconds := strconv.Itoa(int(s.lasts / time.Second))
		headers := []sip.Header{sip.NewHeader("Expires", seconds)}
		if c := req.Contact(); c != nil && s.lasts > 0 && !c.Address.Wildcard {
			headers = append(headers, sip.NewHeader("Contact", "<"+c.Address.String()+">;expires="+seconds)) // RFC 3261 §10.3 step 8
		}
		_ = t.Respond(sip.StatusOK, "", headers...)
	case errors.Is(err, errMediaType):
		_ = t.Respond(sip.StatusUnsupportedMediaType, "", sip.NewHeader("Accept", thirdPartyTypes))
	default:
		l.log.Warn("third-party REGISTER not taken", "identity", s.Identity, latchkey.LogError, err)
		_ = t.Respond(latchkey.KindOf(err).Row().SIP, "")
	}
}

// thirdParty is what one REGISTER says.
type thirdParty struct {
	latchkey.Sighting
	lasts time.Duration // the Expires that came
}

// readThirdParty reads it. The user is in To; From, Contact and the R-URI are of the S-CSCF and the gateway (PROTOCOLS B1.03).
func readThirdParty(req *sip.Request) (thirdParty, error) {
	var s thirdParty
	user, err := latchkey.ParseAddress(req.To().Address.String())
	if err != nil {
		return s, err
	}
	value, known := thirdPartyExpires(req)
	if !known {
		return s, latchkey.Errorf(latchkey.KindBadRequest, "no Expires")
	}
	now := time.Now()
	s.Identity, s.lasts, s.Changed = latchkey.InviterID(user.Identity()), value, now
	s.State = latchkey.Leaving
	if value > 0 {
		s.State, s.Expires = latchkey.Seen, now.Add(value)
	}
	s.CallID, s.CSeq = req.CallID().Value(), req.CSeq().SeqNo
	if len(s.CallID) > maxKept {
		return s, latchkey.Errorf(latchkey.KindBadRequest, "Call-ID too long")
	}
	if c := req.Contact(); c != nil && !c.Address.Wildcard && (c.Address.Scheme == "sip" || c.Address.Scheme == "sips") {
		s.SCSCF = kept(c.Address.String())
	}
	if h := req.GetHeader("P-Charging-Vector"); h != nil {
		s.ICID, s.OrigIOI = kept(parameter(h.Value(), "icid-value")), kept(parameter(h.Value(), "orig-ioi"))
	}
	var charging []string
	for _, h := range req.GetHeaders("P-Charging-Function-Addresses") {
		charging = append(charging, h.Value())
	}
	s.Charging = kept(strings.Join(charging, ", "))
	contentType := ""
	if h := req.GetHeader("Content-Type"); h != nil {
		contentType = h.Value()
	}
	body, err := parseThirdPartyBody(contentType, req.Body())
	if err != nil && !errors.Is(err, errMediaType) {
		err = latchkey.Wrap(latchkey.KindBadRequest, err, "")
	}
	s.Features, s.ServiceInfo = body.features, body.serviceInfo
	return s, err
}

// thirdPartyExpires is the Expires field, else the Contact's own parameter.
func thirdPartyExpires(req *sip.Request) (time.Duration, bool) {
	text := ""
	if h := req.GetHeader("Expires"); h != nil {
		text = strings.TrimSpace(h.Value())
	} else if c := req.Contact(); c != nil {
		text, _ = c.Params.Get("expires")
	}
	n, err := strconv.ParseUint(text, 10, 32) // RFC 3261 §20.19
	return time.Duration(n) * time.Second, err == nil
}

// kept is a text that fits into a row and a later header field, or "".
func kept(s string) string {
	if len(s) > maxKept || !sipua.Clean(s) {
		return ""
	}
	return s
}

// parameter is the value of a parameter in a field whose value is parameters, such as P-Charging-Vector
// (RFC 7315 §5.6), without quotes.
func parameter(field, name string) string {
	for _, value := range dialog.Split(field) {
		for rest := value; rest != ""; {
			var one string
			if i := indexUnquoted(rest, ';'); i >= 0 {
				one, rest = rest[:i], rest[i+1:]
			} else {
				one, rest = rest, ""
			}
			k, v, _ := strings.Cut(one, "=")
			if strings.EqualFold(strings.TrimSpace(k), name) {
				return strings.Trim(strings.TrimSpace(v), `"`)
			}
		}
	}
	return ""
}

// take makes what a REGISTER says the user's sighting, unless it is late.
func (l *Lookout) take(ctx context.Context, s thirdParty) error {
	w := watching{string(s.Identity), false}
	release, err := l.turns.Take(ctx, w)
	if err != nil {
		return latchkey.Wrap(latchkey.KindBusy, err, "")
	}
	defer release()
	was, err := l.store.Sighting(ctx, s.Identity)
	if err != nil && !latchkey.Is(err, latchkey.KindNotFound) {
		return err
	}
	if err == nil && was.CallID == s.CallID && s.CSeq <= was.CSeq {
		return nil // RFC 3261 §10.3 step 7: it was overtaken; what is known is newer
	}
	if s.Features == "" {
		s.Features = was.Features
	}
	if s.ServiceInfo == "" {
		s.ServiceInfo = was.ServiceInfo
	}
	if s.Charging == "" {
		s.Charging = was.Charging
	}
	if s.SCSCF == "" {
		s.SCSCF = was.SCSCF
	}
	if err := l.store.SaveSighting(ctx, s.Sighting); err != nil {
		return fmt.Errorf("sighting of %s: %w", s.Identity, err)
	}
	if s.SCSCF != "" {
		l.scscf.Store(&s.SCSCF)
	}
	l.log.Debug("third-party REGISTER", "identity", s.Identity, "expires", s.lasts, latchkey.LogICID, s.ICID)
	if sub := l.find(w); s.State == latchkey.Leaving || sub != nil && sub.said() != present {
		l.doubt(w)
	} else {
		l.look(w)
	}
	if address, err := latchkey.ParseAddress(string(s.Identity)); err == nil {
		l.opt.Told(address, Report{Online: s.State == latchkey.Seen, Features: s.Features, Doubtful: s.State != latchkey.Seen && l.opt.RegEvent != None, At: s.Changed})
	}
	return nil
}

// doubt has somebody looked at at once. What a subscription said before the news does not count as an answer to it.
func (l *Lookout) doubt(w watching) {
	if sub := l.find(w); sub != nil {
		sub.doubt()
	}
	l.again(w)
}
