// Package guestclient is a guest of a Latchkey gateway: it logs in with an invitation
// link, sends messages, and receives what inviters write.
//
// It speaks the gateway's HTTP interface in JSON and follows the guest's events as server-sent
// events (WHATWG HTML §9.2), by long polls where a proxy keeps those back, or over a WebSocket
// (RFC 6455); errors are RFC 9457 problems. It keeps nothing on disk and imports the standard
// library only.
//
// Start with [Open]. What a guest does:
//
//   - [Client.Login] tells who invited; [Client.Inviters] and [Client.Status] say it as of now.
//   - [Client.Send] and [Client.SendFile] go on until the gateway has it, and the inviter gets it
//     once, however often the connection breaks. What becomes of it comes as events.
//   - [Client.Events] yields each event once and in order, and reconnects; [Client.Ack] says that
//     they are safe. Options.Connection hears when the gateway can't be reached.
//   - [Client.Download] fetches a file and goes on behind a cut; [Client.Read] says that a message
//     or file was looked at, [Client.Composing] that the guest is typing.
//   - [Client.History] and [Client.Files] are what was before. [Client.Logout] leaves for good.
//
// Every method takes a context and ends with it. Package guestclienttest has a gateway for tests.
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
	Transport Transport     // how Events follows; default Auto

	// Connection hears when Events has lost the gateway, and why, and when it has it again. It is called on the
	// goroutine of Events' loop, once for each change, and first when the first connection stands or can't be made.
	Connection func(up bool, why error)
}

// Client is one guest at one gateway. Its methods may be called from many goroutines.
type Client struct {
	base     string // without a final slash
	account  string
	password string
	http     *http.Client
	quiet    time.Duration
	back     time.Duration
	way      Transport
	heard    func(up bool, why error)
}

// Open makes a client of an invitation link (see ParseLink). It asks the gateway nothing yet.
func Open(link string, opt Options) (*Client, error) {
	l, err := ParseLink(link)
	if err == nil && l.Password == "" {
		err = ErrNoPassword
	}
	if err != nil {
		return nil, err
	}
	return New(l.Base, l.Account, l.Password, opt), nil
}

// New makes a client from a gateway's base URL, an account (sip:…) and its password.
func New(base, account, password string, opt Options) *Client {
	c := &Client{base: strings.TrimRight(base, "/"), account: account, password: password, http: opt.HTTP, quiet: opt.Quiet, back: opt.FirstBack, way: opt.Transport, heard: opt.Connection}
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
	if err := json.NewDecoder(&bodyReader{io.LimitReader(res.Body, maxAnswer)}).Decode(answer); err != nil {
		return fmt.Errorf("%s %s: answer of the gateway: %w", method, req.URL.Path, err)
	}
	return nil
}

// brokenError says that a connection broke in the middle of an answer.
type brokenError struct{ err error }

func (e *brokenError) Error() string { return "the connection broke: " + e.err.Error() }
func (e *brokenError) Unwrap() error { return e.err }

// bodyReader reads an answer and tells a connection that broke from what is wrong in the answer.
type bodyReader struct{ r io.Reader }

func (b *bodyReader) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if err != nil && err != io.EOF {
		err = &brokenError{err}
	}
	return n, err
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

// passing reports whether a repeat can help: the network failed, or the gateway is busy, or an upload was overtaken.
func passing(err error) bool {
	if _, overtaken := errors.AsType[*overtakenError](err); overtaken {
		return true
	}
	problem, ok := errors.AsType[*Problem](err)
	if !ok {
		_, network := errors.AsType[*url.Error](err)
		_, broken := errors.AsType[*brokenError](err)
		return network || broken || errors.Is(err, io.ErrUnexpectedEOF)
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
