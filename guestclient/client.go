// Package guestclient is a guest of a Latchkey gateway: it logs in with an invitation
// link, sends messages, and receives what inviters write.
//
// It speaks the gateway's HTTP interface in JSON and follows the guest's events as
// server-sent events (WHATWG HTML §9.2); errors are RFC 9457 problems. It keeps nothing
// on disk and imports the standard library only. Start with Open.
package guestclient

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// sessionPath stands between a gateway's base URL and the account in an invitation link.
const sessionPath = "/rcsgw/invitee/session/"

// Limits of what a gateway may make the client read.
const (
	maxAnswer = 16 << 20
	maxBack   = 15 * time.Second // longest pause between two tries
)

// Options change how a client works. The zero value is ready for use.
type Options struct {
	HTTP      *http.Client  // default: a client of its own that follows no redirects
	Quiet     time.Duration // an event stream without a byte for so long is taken for dead; default 45 s
	FirstBack time.Duration // pause before the first repeat; it doubles each time; default 200 ms
}

// Client is one guest at one gateway. Its methods may be called from many goroutines.
type Client struct {
	base     string // without a final slash
	account  string
	password string
	http     *http.Client
	quiet    time.Duration
	back     time.Duration
}

// Scheme comes before a link that the guest's page hands over to a program (R32): latchkey:https://…
const Scheme = "latchkey:"

// Open makes a client of an invitation link, with the password as query (?passwd=) or as
// fragment (#passwd=), and with or without Scheme before it. It asks the gateway nothing yet.
func Open(link string, opt Options) (*Client, error) {
	link = strings.TrimSpace(link)
	if len(link) > len(Scheme) && strings.EqualFold(link[:len(Scheme)], Scheme) {
		link = link[len(Scheme):]
	}
	u, err := url.Parse(link)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, errors.New("the link is not an http:// or https:// URL") // it may hold a password, so it isn't repeated
	}
	prefix, segment, found := strings.Cut(u.EscapedPath(), sessionPath)
	account, err := url.PathUnescape(segment)
	if !found || err != nil || account == "" || strings.Contains(segment, "/") {
		return nil, errors.New("the link is not an invitation: it has no " + sessionPath + "ACCOUNT")
	}
	password := u.Query().Get("passwd")
	if fragment, err := url.ParseQuery(u.EscapedFragment()); err == nil && password == "" {
		password = fragment.Get("passwd")
	}
	if password == "" {
		return nil, errors.New("the link has no passwd: copy the whole link from the invitation")
	}
	return New(u.Scheme+"://"+u.Host+prefix, account, password, opt), nil
}

// New makes a client from a gateway's base URL, an account (sip:…) and its password.
func New(base, account, password string, opt Options) *Client {
	c := &Client{base: strings.TrimRight(base, "/"), account: account, password: password, http: opt.HTTP, quiet: opt.Quiet, back: opt.FirstBack}
	if c.http == nil {
		c.http = &http.Client{
			Transport: http.DefaultTransport.(*http.Transport).Clone(),
			// The password belongs to this gateway; no answer may send the client elsewhere.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
	}
	if c.quiet <= 0 {
		c.quiet = 45 * time.Second // three times the distance of the gateway's comments
	}
	if c.back <= 0 {
		c.back = 200 * time.Millisecond
	}
	return c
}

// Account is the guest's account, a SIP URI.
func (c *Client) Account() string { return c.account }

// Close drops idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// request makes an authenticated request. body nil sends none.
func (c *Client) request(ctx context.Context, method, path string, body any) (*http.Request, error) {
	var content io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		content = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, content)
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("Accept", "application/json")
	// The gateway reads a user-id that begins with sip: up to its next colon.
	req.SetBasicAuth(c.account, c.password)
	return req, nil
}

// call makes one request and reads the answer into answer, unless that is nil.
func (c *Client) call(ctx context.Context, method, path string, body, answer any) error {
	req, err := c.request(ctx, method, path, body)
	if err != nil {
		return err
	}
	res, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode < 200 || res.StatusCode > 299 {
		return readProblem(res)
	}
	if answer == nil || res.StatusCode == http.StatusNoContent {
		_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, maxAnswer)) // so that the connection is used again
		return nil
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, maxAnswer)).Decode(answer); err != nil {
		return fmt.Errorf("%s %s: answer of the gateway: %w", method, req.URL.Path, err)
	}
	return nil
}

// persist repeats a call that may be repeated until it succeeds, fails for good or ctx
// ends. It pauses longer each time, and as long as the gateway says (Retry-After).
func (c *Client) persist(ctx context.Context, call func() error) error {
	pause := c.back
	for {
		err := call()
		if err == nil || !passing(err) || ctx.Err() != nil {
			return err
		}
		if waitErr := sleep(ctx, max(jitter(pause), retryAfter(err))); waitErr != nil {
			return err
		}
		pause = min(2*pause, maxBack)
	}
}

// passing reports whether a repeat can help: the network failed, or the gateway is busy.
func passing(err error) bool {
	problem, ok := errors.AsType[*Problem](err)
	if !ok {
		_, network := errors.AsType[*url.Error](err)
		return network || errors.Is(err, io.ErrUnexpectedEOF)
	}
	switch problem.Status {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

func retryAfter(err error) time.Duration {
	if problem, ok := errors.AsType[*Problem](err); ok {
		return problem.RetryAfter
	}
	return 0
}

// jitter is between half of d and d, so that many clients don't come back at once.
func jitter(d time.Duration) time.Duration {
	n, err := rand.Int(rand.Reader, big.NewInt(int64(d/2)+1))
	if err != nil {
		return d
	}
	return d/2 + time.Duration(n.Int64())
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
