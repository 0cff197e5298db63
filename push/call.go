package push

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/SherClockHolmes/webpush-go"

	"latchkey"
)

// errForbidden says that an address is none to ask. It is not tried again.
var errForbidden = errors.New("address is not allowed")

// target is where a call goes, and what it is about.
type target struct {
	id    string // of the subscription
	topic string
}

// call is one that is under way. A newer word of the same subject takes the place of one that has not gone yet.
type call struct {
	to    latchkey.PushSubscription
	topic string
	until time.Time // nobody needs it after it
	mu    sync.Mutex
	word  []byte // nil: it has gone
}

// call sends a word to a browser, beside the caller.
func (c *Crier) call(to latchkey.PushSubscription, e latchkey.Event, word []byte) {
	at := target{to.ID, c.opt.Key.topic(subject{e.Account, e.From})}
	c.mu.Lock()
	defer c.mu.Unlock()
	if under := c.calls[at]; under != nil {
		under.replace(word)
		return
	}
	under := &call{to: to, topic: at.topic, until: time.Now().Add(c.opt.TTL), word: word}
	if !c.begin(func() { c.carry(at, under) }) {
		c.log.Debug("browser not called: too many calls", latchkey.LogGuest, to.Account)
		return
	}
	c.calls[at] = under
}

func (u *call) replace(word []byte) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.word = word
}

func (u *call) take() []byte {
	u.mu.Lock()
	defer u.mu.Unlock()
	word := u.word
	u.word = nil
	return word
}

// carry takes a call's words to the push service, one after the other.
func (c *Crier) carry(at target, u *call) {
	pause, tries := firstPause, 0
	for {
		word := u.take()
		if word == nil {
			if c.done(at, u) {
				return
			}
			continue
		}
		wait, err := c.attempt(u, word)
		if err == nil {
			pause, tries = firstPause, 0
			continue
		}
		tries++
		switch {
		case c.ctx.Err() != nil:
			return
		case wait < 0 || tries == attempts || time.Now().After(u.until):
			c.log.Warn("browser not called", latchkey.LogGuest, u.to.Account, "push_service", host(u.to), latchkey.LogError, err)
			c.drop(at)
			return
		}
		c.log.Debug("browser is called again", latchkey.LogGuest, u.to.Account, "push_service", host(u.to), latchkey.LogError, err)
		u.restore(word)
		if !c.rest(max(pause, min(wait, maxRetryAfter))) {
			return
		}
		pause = min(2*pause, maxPause)
	}
}

// restore puts a word back, unless there is a newer one.
func (u *call) restore(word []byte) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.word == nil {
		u.word = word
	}
}

// done takes a call off the list; false: there is one more word to carry.
func (c *Crier) done(at target, u *call) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.word != nil {
		return false
	}
	delete(c.calls, at)
	return true
}

func (c *Crier) drop(at target) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.calls, at)
}

// attempt asks the push service once. Where that failed wait says how long to wait for the next try at least, and below 0 that none can help.
func (c *Crier) attempt(u *call, word []byte) (wait time.Duration, err error) {
	const never = -1
	select {
	case c.places <- struct{}{}:
		defer func() { <-c.places }()
	case <-c.ctx.Done():
		return never, c.ctx.Err()
	}
	ctx, cancel := context.WithTimeout(c.ctx, attemptTime)
	defer cancel()
	res, err := webpush.SendNotificationWithContext(ctx, word,
		&webpush.Subscription{Endpoint: u.to.Endpoint.Reveal(), Keys: webpush.Keys{P256dh: u.to.P256dh.Reveal(), Auth: u.to.Auth.Reveal()}},
		&webpush.Options{
			HTTPClient: c.client, Subscriber: subscriber(c.opt.Contact), VAPIDPublicKey: c.opt.Key.public, VAPIDPrivateKey: c.opt.Key.private,
			TTL: int(max(0, time.Until(u.until)).Seconds()), Urgency: webpush.UrgencyNormal, Topic: u.topic, // RFC 8030 §5.3: normal is for chats
		})
	if errors.Is(err, errForbidden) {
		return never, errForbidden
	}
	if err != nil {
		return 0, withoutURL(err)
	}
	defer res.Body.Close()
	_, _ = io.CopyN(io.Discard, res.Body, maxAnswer) // so that the connection is used again
	switch s := res.StatusCode; {
	case s >= 200 && s < 300:
		return 0, nil
	case s == http.StatusNotFound, s == http.StatusGone: // RFC 8030 §7.3: the subscription is over
		if err := c.store.DropPush(ctx, u.to.Account, u.to.ID); err != nil && !latchkey.Is(err, latchkey.KindNotFound) {
			return never, err
		}
		c.log.Debug("browser takes no calls any more", latchkey.LogGuest, u.to.Account, "push_service", host(u.to))
		return 0, nil
	case s == http.StatusTooManyRequests, s == http.StatusRequestTimeout, s >= 500: // RFC 8030 §8.4: 429 with Retry-After
		return retryAfter(res.Header.Get("Retry-After")), fmt.Errorf("status %d", s)
	default:
		return never, fmt.Errorf("status %d", s)
	}
}

// retryAfter reads seconds or a date (RFC 9110 §10.2.3); 0 where it says nothing that can be understood.
func retryAfter(v string) time.Duration {
	if n, err := strconv.Atoi(v); err == nil {
		return time.Duration(min(max(n, 0), int(maxRetryAfter.Seconds()))) * time.Second
	}
	if t, err := http.ParseTime(v); err == nil {
		return max(time.Until(t), 0)
	}
	return 0
}

// withoutURL takes the address, which is a key, out of an error of package http.
func withoutURL(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}

// host is the push service's name, for the log.
func host(p latchkey.PushSubscription) string {
	u, err := url.Parse(p.Endpoint.Reveal())
	if err != nil {
		return ""
	}
	return u.Host
}
