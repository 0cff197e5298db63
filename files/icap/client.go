// Package icap has files looked at by a scanner that speaks the Internet Content Adaptation Protocol (RFC 3507): as the body of an
// HTTP response by RESPMOD, or of a request by REQMOD, whichever the service knows.
//
// It owns the connections to one service, what the service said of itself, and the reading of its verdicts. Files stream through
// it, and what comes back is compared on the way: nothing is kept. It changes no file; one that the service would change is not clean.
// It knows nothing of guests or of where files lie. Start with New and Client.Scan.
package icap

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// How long things may take.
const (
	dialTime    = 10 * time.Second
	scanTime    = 10 * time.Minute // a whole file
	stepTime    = 30 * time.Second // one write
	verdictTime = 2 * time.Minute  // without a byte in either direction
)

// maxIdle is how many connections are kept for the next files, and idleTime for how long.
const (
	maxIdle  = 4
	idleTime = time.Minute
)

// Client asks one service. It is safe for several goroutines.
type Client struct {
	url  *url.URL
	host string // as it is connected to, host:port
	tls  *tls.Config

	mu      sync.Mutex // guards the fields below
	idle    []*conn    // the last used one last
	known   *Service
	expires time.Time // of known
	closed  bool
}

// New makes a client of the service at an address: icap://host[:port]/service, or icaps:// for TLS from the first byte. Nothing is asked yet.
// conf may be nil.
func New(address string, conf *tls.Config) (*Client, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, errors.New("is not a URL")
	}
	c := &Client{url: u, host: u.Host}
	port := "1344" // RFC 3507 §4.2
	switch u.Scheme {
	case "icap":
	case "icaps":
		port = "11344" // of c-icap and others; no standard has it
		c.tls = conf.Clone()
		if c.tls == nil {
			c.tls = &tls.Config{MinVersion: tls.VersionTLS12}
		}
		if c.tls.ServerName == "" {
			c.tls.ServerName = u.Hostname()
		}
	default:
		return nil, errors.New("does not begin with icap:// or icaps://")
	}
	switch {
	case u.Hostname() == "":
		return nil, errors.New("names no host")
	case strings.Trim(u.Path, "/") == "":
		return nil, errors.New("names no service behind the host")
	case u.User != nil || u.Fragment != "":
		return nil, errors.New("has more in it than host, service and query")
	}
	if u.Port() == "" {
		c.host = net.JoinHostPort(u.Hostname(), port)
	}
	return c, nil
}

// Close closes the connections that are kept. Files that are being looked at come to their end.
func (c *Client) Close() error {
	c.mu.Lock()
	idle := c.idle
	c.idle, c.closed = nil, true
	c.mu.Unlock()
	for _, k := range idle {
		_ = k.Close()
	}
	return nil
}

// conn is one connection to the service.
type conn struct {
	net.Conn
	in    *bufio.Reader
	heard bool // since it was last taken
	since time.Time

	answered atomic.Bool // the verdict is here: what is still written has little time
}

// Read waits as long as the service may think.
func (k *conn) Read(b []byte) (int, error) {
	_ = k.SetReadDeadline(time.Now().Add(verdictTime))
	n, err := k.Conn.Read(b)
	k.heard = k.heard || n > 0
	return n, err
}

// Write gives the service time for each piece. While pieces go, a verdict may take its time.
func (k *conn) Write(b []byte) (int, error) {
	patience := stepTime
	if k.answered.Load() {
		patience = afterAnswer
	}
	_ = k.SetWriteDeadline(time.Now().Add(patience))
	n, err := k.Conn.Write(b)
	_ = k.SetReadDeadline(time.Now().Add(verdictTime))
	return n, err
}

// take gives a connection: a kept one where old ones will do, else a fresh one.
func (c *Client) take(ctx context.Context, old bool) (k *conn, kept bool, err error) {
	for old {
		if k = c.last(); k == nil {
			break
		}
		if time.Since(k.since) < idleTime {
			k.heard = false
			k.answered.Store(false)
			return k, true, nil
		}
		_ = k.Close()
	}
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	var d net.Dialer
	raw, err := d.DialContext(ctx, "tcp", c.host)
	if err == nil && c.tls != nil {
		secure := tls.Client(raw, c.tls)
		if err = secure.HandshakeContext(ctx); err != nil {
			_ = raw.Close()
		}
		raw = secure
	}
	if err != nil {
		return nil, false, err
	}
	k = &conn{Conn: raw}
	k.in = bufio.NewReaderSize(k, maxLine)
	return k, false, nil
}

// last takes the connection that was used last off those that are kept; nil: there is none.
func (c *Client) last() *conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := len(c.idle) - 1
	if n < 0 {
		return nil
	}
	k := c.idle[n]
	c.idle = c.idle[:n]
	return k
}

// keep puts a connection back on which nothing is under way.
func (c *Client) keep(k *conn) {
	k.since = time.Now()
	c.mu.Lock()
	room := !c.closed && len(c.idle) < maxIdle
	if room {
		c.idle = append(c.idle, k)
	}
	c.mu.Unlock()
	if !room {
		_ = k.Close() // with TLS this may wait for the service
	}
}

// converse runs an exchange on a connection, which is kept where the exchange left it whole. An exchange on a kept connection that the service
// has closed meanwhile is begun again on a fresh one, where again says that it can be.
func (c *Client) converse(ctx context.Context, again func() bool, exchange func(*conn) (whole bool, err error)) error {
	for old := again != nil; ; old = false {
		k, kept, err := c.take(ctx, old)
		if err != nil {
			return err
		}
		stop := context.AfterFunc(ctx, func() { _ = k.Close() })
		whole, err := exchange(k)
		if stop() && whole && err == nil {
			c.keep(k)
			return nil
		}
		_ = k.Close()
		if err == nil || !kept || k.heard || ctx.Err() != nil || errors.Is(err, errUnread) || !again() {
			return err
		}
	}
}

// Service is what a service says of itself (RFC 3507 §4.10.2).
type Service struct {
	Name    string
	Methods []string
	Preview int  // octets that it wants to see first; -1: it knows no previews
	Allow   bool // 204 also outside of previews
	ISTag   string
}

// Options asks the service what it can, and keeps that for as long as the service says.
func (c *Client) Options(ctx context.Context) (Service, error) {
	c.mu.Lock()
	known, expires := c.known, c.expires
	c.mu.Unlock()
	if known != nil && time.Now().Before(expires) {
		return *known, nil
	}
	ctx, cancel := context.WithTimeout(ctx, verdictTime)
	defer cancel()
	var s Service
	var ttl time.Duration
	err := c.converse(ctx, func() bool { return true }, func(k *conn) (bool, error) {
		if _, err := io.WriteString(k, "OPTIONS "+c.url.String()+" ICAP/1.0\r\nHost: "+c.url.Host+"\r\nUser-Agent: Latchkey\r\nEncapsulated: null-body=0\r\n\r\n"); err != nil {
			return false, err
		}
		res, err := readResponse(k.in)
		if err == nil {
			err = res.discard()
		}
		if err != nil {
			return false, err
		}
		if res.code != 200 {
			return false, res.refusal()
		}
		s, ttl = serviceOf(res.header)
		return !res.closes(), nil
	})
	if err == nil && s.method() == "" {
		err = fmt.Errorf("the service knows %s, and neither RESPMOD nor REQMOD", strings.Join(s.Methods, ", "))
	}
	if err != nil {
		return s, fmt.Errorf("icap: options: %w", err)
	}
	c.mu.Lock()
	c.known, c.expires = &s, time.Now().Add(ttl)
	c.mu.Unlock()
	return s, nil
}

// forget has the service asked again what it can.
func (c *Client) forget() {
	c.mu.Lock()
	c.known = nil
	c.mu.Unlock()
}
