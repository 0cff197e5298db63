package registrar

import (
	"context"
	"sync"
	"time"

	"latchkey"
)

// shortened is the event of a contact whose end the core has put earlier, so that it registers anew (RFC 3680 §3.1, §4.7.1).
const shortened = "shortened"

// Loss is the core's word on an account's own contact.
type Loss struct {
	Event string        // how it was lost (RFC 3680 §4.7.1), or shortened; "": it is there after all
	After time.Duration // when it may come back, or ends
	Heard time.Time
	// CallID and CSeq are those of the REGISTER that the contact came of (RFC 3680 §5.1 (unverified)); 0: not told.
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
	release, err := r.turns.take(ctx, account)
	if err != nil {
		return
	}
	defer release()
	regs, err := r.store.Registrations(ctx, account)
	reg := find(regs, latchkey.CoreServer)
	if err != nil || reg == nil || reg.State == latchkey.RegistrationLeaving || loss.older(reg) {
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
