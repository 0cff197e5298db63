package registrar

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"

	"latchkey"
	"latchkey/internal/sipua"
)

const (
	// spareCSeqs are set aside before a REGISTER leaves: itself, its repeat with
	// credentials, and one more for stale=true. A crash in between can't use one twice.
	spareCSeqs = 3
	// saveTimeout bounds the storing of a result, which happens even if the caller is gone.
	saveTimeout = 10 * time.Second
)

// refusal is a final response other than 2xx.
type refusal struct {
	code       int
	reason     string
	retryAfter time.Duration
}

func (e *refusal) Error() string { return fmt.Sprintf("%d %s", e.code, e.reason) }

// final reports whether asking again in the same way is of no use (PROTOCOLS B1.22): the
// request itself is not wanted, and no time was named after which it would be.
func (e *refusal) final() bool {
	return e.code < 500 && e.code != sip.StatusRequestTimeout && e.code != sip.StatusTemporarilyUnavailable && e.retryAfter == 0 ||
		e.code >= 600
}

// unsure reports whether the registrar may have taken the request all the same: a proxy
// says that it heard no answer.
func (e *refusal) unsure() bool {
	return e.code == sip.StatusRequestTimeout || e.code == sip.StatusGatewayTimeout
}

// register asks the registration's server for a registration and writes the outcome into reg.
// The caller holds the account's turn and saves reg afterwards, whatever is returned (renew does).
func (r *Registrar) register(ctx context.Context, reg *latchkey.Registration, timeout time.Duration) error {
	if wait := r.holds.left(reg.Server, time.Now()); wait > 0 {
		reg.Due = time.Now().Add(wait)
		return &latchkey.Error{Kind: latchkey.KindRegistrationFailed, RetryAfter: wait, Err: fmt.Errorf("%s asked to wait", reg.Server)}
	}
	held := reg.Held
	sent := time.Now()
	via := reg.Hop
	req, res, err := r.ask(ctx, reg, via, timeout)
	if via != "" && ctx.Err() == nil && astray(res, err) { // the detour is over; the server itself may know another one
		via = ""
		sent = time.Now()
		req, res, err = r.ask(ctx, reg, via, timeout)
	}
	for again := 0; err == nil && again < maxAgain; again++ {
		other, another := r.advised(reg, via, res)
		if !another {
			break
		}
		via, sent = other, time.Now()
		req, res, err = r.ask(ctx, reg, via, timeout)
	}
	reg.Hop = ""
	if err != nil {
		return r.failed(ctx, reg, err)
	}
	if res.IsSuccess() {
		granted := grantedExpires(res, r.asked(reg), req.Contact().Address)
		if granted > 0 {
			reg.State, reg.Failures = latchkey.Registered, 0
			reg.Expires, reg.Hop = sent.Add(granted), via
			reg.Held, reg.Due = reg.Expires, sent.Add(refreshAfter(granted))
			reg.ServiceRoute = addressList(res, "Service-Route")
			reg.Associated = addressList(res, "P-Associated-URI")
			if reg.Server == latchkey.CoreServer {
				r.opt.Kept(reg.Account)
			}
			r.log.Debug("registered", latchkey.LogGuest, reg.Account, "server", reg.Server, "expires", granted)
			return nil
		}
	}
	no := &refusal{res.StatusCode, res.Reason, retryAfter(res)}
	if !no.unsure() {
		reg.Held = held
	}
	return r.failed(ctx, reg, no)
}

// astray reports whether a detour leads nowhere any more: it is silent, or can't do its work, or does not know the account.
func astray(res *sip.Response, err error) bool {
	if err != nil {
		return errors.Is(err, sipua.ErrTimeout) || errors.Is(err, sipua.ErrTransport)
	}
	return res.StatusCode >= 500 && res.StatusCode < 600 && res.GetHeader("Content-Type") == nil || // a 504 with a body has something to say
		res.StatusCode == sip.StatusRequestTimeout || res.StatusCode == sip.StatusNotFound
}

// maxAgain bounds the REGISTERs that follow at once from answers to one.
const maxAgain = 3

// advised does what a response asks for and reports whether another REGISTER is to follow at once, and by way of
// which hop (PROTOCOLS B1.22).
func (r *Registrar) advised(reg *latchkey.Registration, via string, res *sip.Response) (hop string, again bool) {
	switch res.StatusCode {
	case sip.StatusIntervalToBrief:
		// RFC 3261 §10.2.8: once more, with at least Min-Expires.
		least := seconds(headerValue(res, "Min-Expires"))
		if least <= r.asked(reg) {
			return "", false
		}
		reg.MinExpires = least
		return via, true
	case sip.StatusMovedTemporarily, sip.StatusUseProxy:
		// RFC 3261 §21.3.3, §21.3.4: by way of the Contact, for as long as the registration stands.
		c := res.Contact()
		if c == nil {
			return "", false
		}
		other, err := parseHop(c.Address.String())
		if err != nil || other.Host == "" || sameHop(other.String(), cmp.Or(via, r.hops[reg.Server])) {
			return "", false
		}
		other.User, other.Headers = "", nil
		return other.String(), true
	case sip.StatusGatewayTimeout:
		// TS 24.229 §7.6 (type restoration, action initial-registration): the core lost what it knew and wants an initial registration.
		if h := res.GetHeader("Content-Type"); h == nil || !strings.HasPrefix(strings.ToLower(h.Value()), imsXML) {
			return "", false
		}
		if doc, err := parseIMS(res.Body()); err != nil || !doc.restoration {
			return "", false
		}
		reg.CallID, reg.CSeq = sipua.NewToken(), 0
		r.nonces.set(key{reg.Account, reg.Server}, "")
		return via, true
	}
	return "", false
}

// asked is the Expires that a REGISTER of the registration asks for.
func (r *Registrar) asked(reg *latchkey.Registration) time.Duration {
	return max(r.opt.Expires, reg.MinExpires)
}

// ask sends a REGISTER that asks for a registration. via is the first hop, "" the server's own.
func (r *Registrar) ask(ctx context.Context, reg *latchkey.Registration, via string, timeout time.Duration) (*sip.Request, *sip.Response, error) {
	now := time.Now()
	if until := now.Add(r.asked(reg)); until.After(reg.Held) {
		reg.Held = until
	}
	if reg.State != latchkey.Registered {
		reg.State, reg.Due = latchkey.RegistrationWanted, now.Add(timeout) // what a crash leaves behind is looked after
	}
	return r.send(ctx, reg, via, r.asked(reg), timeout)
}

// send writes down which CSeqs may be used, sends a REGISTER, and notes which were.
func (r *Registrar) send(ctx context.Context, reg *latchkey.Registration, via string, expires, timeout time.Duration) (*sip.Request, *sip.Response, error) {
	first := reg.CSeq + 1
	reg.Sent = time.Now()
	reg.CSeq += spareCSeqs
	req, err := r.request(reg, cmp.Or(via, r.hops[reg.Server]), first, expires)
	if err != nil {
		return nil, nil, err
	}
	creds, k := r.opt.Auth.Credentials(reg.Account), key{reg.Account, reg.Server}
	if ch := r.nonces.get(k); ch != "" {
		if err := sipua.Preauthorize(req, ch, creds); err != nil {
			return nil, nil, err
		}
	}
	if err := r.store.SaveRegistration(ctx, *reg); err != nil {
		return nil, nil, fmt.Errorf("registration of %s: %w", reg.Account, err)
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	res, err := r.wire.DoAuth(ctx, req, creds)
	reg.CSeq = req.CSeq().SeqNo
	if err == nil {
		r.nonces.set(k, sipua.NextChallenge(req, res))
	}
	return req, res, err
}

// request makes a REGISTER (RFC 3261 §10.2). It goes to the server by a Route, so that the
// R-URI stays the account's domain.
func (r *Registrar) request(reg *latchkey.Registration, by string, cseq uint32, expires time.Duration) (*sip.Request, error) {
	hop, err := parseHop(by)
	if err != nil {
		return nil, err
	}
	aor, account := string(reg.Account), reg.Account.Address()
	req, err := sipua.NewRequest(sip.REGISTER, account.Scheme()+":"+account.Host(), aor, aor)
	if err != nil {
		return nil, err
	}
	*req.CallID() = sip.CallIDHeader(reg.CallID)
	req.CSeq().SeqNo = cseq
	sipua.AddRoute(req, sipua.LooseRoute(hop.String()))
	contact := r.wire.Contact(req.To().Address.User, hop)
	req.AppendHeader(&sip.ContactHeader{Address: contact, Params: r.opt.Tags.Clone()})
	e := sip.ExpiresHeader(expires / time.Second)
	req.AppendHeader(&e)
	req.AppendHeader(sip.NewHeader("Supported", "path")) // RFC 3327 §5.1
	return req, nil
}

// failed notes a REGISTER that did not register, plans the next, and makes the error for the caller.
func (r *Registrar) failed(ctx context.Context, reg *latchkey.Registration, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("registration of %s: %w", reg.Account, ctx.Err())
	}
	now := time.Now()
	reg.Failures++
	reg.Due = now.Add(backoff(reg.Failures))
	out := &latchkey.Error{Kind: latchkey.KindCoreTimeout, Err: fmt.Errorf("register %s at %s: %w", reg.Account, reg.Server, err)}
	if no, ok := errors.AsType[*refusal](err); ok {
		out.Kind = latchkey.KindRegistrationFailed
		if no.retryAfter > 0 {
			out.RetryAfter = no.retryAfter
			reg.Due = now.Add(no.retryAfter)
			if no.code == sip.StatusServiceUnavailable {
				r.holds.set(reg.Server, reg.Due)
			}
		}
		if no.final() {
			reg.State, reg.Due = latchkey.RegistrationRefused, time.Time{}
		}
	} else if !errors.Is(err, sipua.ErrTimeout) && !errors.Is(err, sipua.ErrTransport) {
		out.Kind = latchkey.KindInternal
	}
	return out
}

// refreshAfter is how long after the REGISTER the next one is due: TS 24.229 §5.1.1.4.1,
// 600 s before the end if that is more than 1200 s away, else at half.
func refreshAfter(granted time.Duration) time.Duration {
	if granted > 1200*time.Second {
		return granted - 600*time.Second
	}
	return granted / 2
}

// backoff is RFC 5626 §4.5 for a client with one flow: base 30 s, doubled by each failure
// up to 1800 s, of which a random half is taken off.
func backoff(failures int) time.Duration {
	const base, most = 30 * time.Second, 1800 * time.Second
	upper := most
	if failures < 6 {
		upper = min(most, base<<failures)
	}
	return upper/2 + rand.N(upper/2)
}

// save stores the outcome of an act and plans the next one.
func (r *Registrar) save(ctx context.Context, reg *latchkey.Registration) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveTimeout)
	defer cancel()
	r.schedule.set(key{reg.Account, reg.Server}, reg.Due)
	if err := r.store.SaveRegistration(ctx, *reg); err != nil {
		return fmt.Errorf("registration of %s: %w", reg.Account, err)
	}
	return nil
}

// forget removes a registration that no server holds.
func (r *Registrar) forget(ctx context.Context, reg *latchkey.Registration) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveTimeout)
	defer cancel()
	r.schedule.set(key{reg.Account, reg.Server}, time.Time{})
	if err := r.store.DeleteRegistration(ctx, reg.Account, reg.Server); err != nil {
		return fmt.Errorf("registration of %s: %w", reg.Account, err)
	}
	return nil
}

func headerValue(res *sip.Response, name string) string {
	if h := res.GetHeader(name); h != nil {
		return strings.TrimSpace(h.Value())
	}
	return ""
}
