package registrar

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"

	"latchkey"
	"latchkey/internal/sipua"
)

// shortened is the event of a contact whose end the core has put earlier, so that it registers anew (RFC 3680 §3.1, §4.7.1).
const shortened = "shortened"

// Loss is the core's word on an account's own contact.
type Loss struct {
	Event string        // how it was lost (RFC 3680 §4.7.1), or shortened; "": it is there after all
	After time.Duration // when it may come back, or ends
	Heard time.Time
	// CallID and CSeq are those of the REGISTER that the contact came of (RFC 3680 §5.1); 0: not told.
	CallID string
	CSeq   uint32
}

// older reports whether the loss is of a time before the REGISTER that was granted last. As long as one has not been granted, nothing
// has made the loss good.
func (l Loss) older(reg *latchkey.Registration) bool {
	switch {
	case reg.State != latchkey.Registered || reg.Failures > 0:
		return false
	case l.CSeq > 0 && l.CallID == reg.CallID: // one who changes Call-IDs on the way, as a border controller does, hides the order
		return l.CSeq < reg.CSeq
	}
	return l.Heard.Before(reg.Sent)
}

// Lost takes the core's word that it threw the account's contact out (PROTOCOLS B1.24, RFC 3680 §4.7.1): deactivated
// asks for a new REGISTER now, probation for one after a while, and rejected for none until somebody logs in. It waits for a REGISTER
// that is under way: one whose answer never came does not make the loss good, and one that was granted does, if it is the later one.
// A contact that was shortened is registered anew at once, where it would end before its time, since the core may want to see the credentials again.
// What the gateway itself takes back is no loss.
func (r *Registrar) Lost(ctx context.Context, account latchkey.AccountID, loss Loss) {
	regs, release, err := r.begin(ctx, account)
	if err != nil {
		return
	}
	defer release()
	reg := find(regs, latchkey.CoreServer)
	if reg == nil || reg.State == latchkey.RegistrationLeaving || loss.older(reg) {
		return
	}
	// A contact that is there after it was lost came of a REGISTER that the core took later, which only another one can confirm.
	if found := loss.Event == ""; found != (reg.State == latchkey.RegistrationRefused) {
		return
	}
	now := time.Now()
	if loss.Event == shortened {
		// One that a refresh comes before needs none; nor does what a notifier repeats after that refresh.
		if end := now.Add(loss.After); end.Before(reg.Due) {
			reg.Expires, reg.Due = end, now
			if err := r.save(ctx, reg); err != nil {
				r.log.Error("registration not kept", latchkey.LogGuest, account, latchkey.LogError, err)
			}
		}
		return
	}
	reg.State, reg.Expires, reg.Held, reg.Due, reg.Hop = latchkey.RegistrationWanted, now, now, now, ""
	switch loss.Event {
	case "", "deactivated":
	case "rejected":
		reg.State, reg.Due = latchkey.RegistrationRefused, time.Time{}
	default:
		reg.Due = now.Add(max(loss.After, backoff(1)))
	}
	r.log.Info("account was deregistered by the core", latchkey.LogGuest, account, "event", loss.Event)
	if err := r.save(ctx, reg); err != nil {
		r.log.Error("registration not kept", latchkey.LogGuest, account, latchkey.LogError, err)
	}
}

// Restore takes a 504 to a request of the account other than REGISTER. Where somebody of the account's Service-Route says by it that the core has
// lost the registration, an initial one follows at once (TS 24.229 §5.1.2A.1.6). It reports whether that is so.
func (r *Registrar) Restore(ctx context.Context, account latchkey.AccountID, res *sip.Response) bool {
	if res == nil || !restoration(res) {
		return false
	}
	regs, release, err := r.begin(ctx, account)
	if err != nil {
		return false
	}
	defer release()
	reg := find(regs, latchkey.CoreServer)
	if reg == nil || reg.State != latchkey.Registered || !meets(reg.ServiceRoute, addressList(res, "P-Asserted-Identity")) {
		return false
	}
	r.log.Info("the core has lost a registration", latchkey.LogGuest, account)
	now := time.Now()
	reg.State, reg.Expires, reg.Due = latchkey.RegistrationWanted, now, now
	reg.CallID, reg.CSeq = sipua.NewToken(), 0
	r.nonces.set(key{account, latchkey.CoreServer}, "")
	if err := r.save(ctx, reg); err != nil {
		r.log.Error("registration not kept", latchkey.LogGuest, account, latchkey.LogError, err)
	}
	return true
}

// restoration reports whether a response asks for an initial registration (TS 24.229 §7.6).
func restoration(res *sip.Response) bool {
	if h := res.GetHeader("Content-Type"); res.StatusCode != sip.StatusGatewayTimeout || h == nil || !strings.HasPrefix(strings.ToLower(h.Value()), imsXML) {
		return false
	}
	doc, err := parseIMS(res.Body())
	return err == nil && doc.restoration
}

// meets reports whether two lists have a URI in common.
func meets(some, others []string) bool {
	for _, a := range some {
		for _, b := range others {
			var u, v sip.Uri
			if sip.ParseUri(a, &u) == nil && sip.ParseUri(b, &v) == nil && sameContact(u, v) {
				return true
			}
		}
	}
	return false
}

// nonces remembers what the next REGISTER of a registration may answer without being asked. What is lost in a restart
// costs a challenge.
type nonces struct {
	mu sync.Mutex
	of map[key]string
}

func (n *nonces) get(k key) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.of[k]
}

// set remembers a challenge; "": none.
func (n *nonces) set(k key, challenge string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if challenge == "" {
		delete(n.of, k)
		return
	}
	if n.of == nil {
		n.of = map[key]string{}
	}
	n.of[k] = challenge
}
