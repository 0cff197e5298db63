package registrar

import (
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

// register asks the binding's server for a registration and writes the outcome into b.
// The caller holds the account's turn and saves b afterwards, whatever is returned (renew does).
func (r *Registrar) register(ctx context.Context, b *Binding, timeout time.Duration) error {
	if wait := r.holds.left(b.Server, time.Now()); wait > 0 {
		b.Due = time.Now().Add(wait)
		return &latchkey.Error{Kind: latchkey.KindRegistrationFailed, RetryAfter: wait, Err: fmt.Errorf("%s asked to wait", b.Server)}
	}
	held := b.Held
	sent := time.Now()
	req, res, err := r.ask(ctx, b, timeout)
	if err == nil && res.StatusCode == sip.StatusIntervalToBrief {
		// RFC 3261 §10.2.8: once more, with at least Min-Expires.
		if least := seconds(headerValue(res, "Min-Expires")); least > max(r.opt.Expires, b.MinExpires) {
			b.MinExpires = least
			sent = time.Now()
			req, res, err = r.ask(ctx, b, timeout)
		}
	}
	if err != nil {
		return r.failed(ctx, b, err)
	}
	if res.IsSuccess() {
		granted := grantedExpires(res, r.asked(b), req.Contact().Address)
		if granted > 0 {
			b.State, b.Failures = Registered, 0
			b.Expires = sent.Add(granted)
			b.Held, b.Due = b.Expires, sent.Add(refreshAfter(granted))
			b.ServiceRoute = addressList(res, "Service-Route")
			b.Associated = addressList(res, "P-Associated-URI")
			r.log.Debug("registered", latchkey.LogGuest, b.Account, "server", b.Server, "expires", granted)
			return nil
		}
	}
	no := &refusal{res.StatusCode, res.Reason, retryAfter(res)}
	if !no.unsure() {
		b.Held = held
	}
	return r.failed(ctx, b, no)
}

// asked is the Expires that a REGISTER of the binding asks for.
func (r *Registrar) asked(b *Binding) time.Duration { return max(r.opt.Expires, b.MinExpires) }

// ask sends a REGISTER that asks for a registration.
func (r *Registrar) ask(ctx context.Context, b *Binding, timeout time.Duration) (*sip.Request, *sip.Response, error) {
	now := time.Now()
	if until := now.Add(r.asked(b)); until.After(b.Held) {
		b.Held = until
	}
	if b.State != Registered {
		b.State, b.Due = Wanted, now.Add(timeout) // what a crash leaves behind is looked after
	}
	return r.send(ctx, b, r.asked(b), timeout)
}

// send writes down which CSeqs may be used, sends a REGISTER, and notes which were.
func (r *Registrar) send(ctx context.Context, b *Binding, expires, timeout time.Duration) (*sip.Request, *sip.Response, error) {
	first := b.CSeq + 1
	b.CSeq += spareCSeqs
	req, err := r.request(b, first, expires)
	if err != nil {
		return nil, nil, err
	}
	if err := r.store.SaveBinding(ctx, *b); err != nil {
		return nil, nil, fmt.Errorf("registration of %s: %w", b.Account, err)
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	res, err := r.wire.DoAuth(ctx, req, r.opt.Auth.Credentials(b.Account))
	b.CSeq = req.CSeq().SeqNo
	return req, res, err
}

// request makes a REGISTER (RFC 3261 §10.2). It goes to the server by a Route, so that the
// R-URI stays the account's domain.
func (r *Registrar) request(b *Binding, cseq uint32, expires time.Duration) (*sip.Request, error) {
	hop, err := parseHop(r.hops[b.Server])
	if err != nil {
		return nil, err
	}
	aor, account := string(b.Account), b.Account.Address()
	req, err := sipua.NewRequest(sip.REGISTER, account.Scheme()+":"+account.Host(), aor, aor)
	if err != nil {
		return nil, err
	}
	*req.CallID() = sip.CallIDHeader(b.CallID)
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
func (r *Registrar) failed(ctx context.Context, b *Binding, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("registration of %s: %w", b.Account, ctx.Err())
	}
	now := time.Now()
	b.Failures++
	b.Due = now.Add(backoff(b.Failures))
	out := &latchkey.Error{Kind: latchkey.KindCoreTimeout, Err: fmt.Errorf("register %s at %s: %w", b.Account, b.Server, err)}
	if no, ok := errors.AsType[*refusal](err); ok {
		out.Kind = latchkey.KindRegistrationFailed
		if no.retryAfter > 0 {
			out.RetryAfter = no.retryAfter
			b.Due = now.Add(no.retryAfter)
			if no.code == sip.StatusServiceUnavailable {
				r.holds.set(b.Server, b.Due)
			}
		}
		if no.final() {
			b.State, b.Due = Refused, time.Time{}
		}
	} else if !errors.Is(err, sipua.ErrTimeout) && !errors.Is(err, sipua.ErrTransport) {
		out.Kind = latchkey.KindInternal
	}
	return out
}

// refreshAfter is how long after the REGISTER the next one is due: TS 24.229 §5.1.1.4.1
// (unverified), 600 s before the end if that is more than 1200 s away, else at half.
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
func (r *Registrar) save(ctx context.Context, b *Binding) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveTimeout)
	defer cancel()
	r.schedule.set(key{b.Account, b.Server}, b.Due)
	if err := r.store.SaveBinding(ctx, *b); err != nil {
		return fmt.Errorf("registration of %s: %w", b.Account, err)
	}
	return nil
}

// forget removes a binding that no server holds.
func (r *Registrar) forget(ctx context.Context, b *Binding) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveTimeout)
	defer cancel()
	r.schedule.set(key{b.Account, b.Server}, time.Time{})
	if err := r.store.DeleteBinding(ctx, b.Account, b.Server); err != nil {
		return fmt.Errorf("registration of %s: %w", b.Account, err)
	}
	return nil
}

func headerValue(res *sip.Response, name string) string {
	if h := res.GetHeader(name); h != nil {
		return strings.TrimSpace(h.Value())
	}
	return ""
}
