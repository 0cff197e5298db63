package httpapi

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"time"

	"latchkey/internal/limit"
)

// Options of the facade; the zero value works.
type Options struct {
	// Log receives one line for each request and the hidden causes of failures. Default: slog.Default().
	Log *slog.Logger
	// PublicURL is the base under which clients see the facade; "" where they see it as it is. It says whether the cookie is
	// for HTTPS only, where TLS ends before the gateway, and for which path it is.
	PublicURL string
	// ContentURL is the address of the content server as phones know it. Default: that below PublicURL.
	ContentURL string
	// AssertedUploads has phones upload by way of trusted proxies only, in whose words they are known.
	AssertedUploads bool
	// DigestUploads has phones that no trusted proxy names prove themselves by Digest instead of Basic. The Directory must be Digests.
	DigestUploads bool
	// Trusted are networks of proxies whose X-3GPP-Asserted-Identity, Forwarded and X-Forwarded-For are believed. Default: none.
	Trusted []netip.Prefix
	// Guard slows down guessing of inviters' passwords (S4). Default: a Guard of its own.
	Guard *limit.Guard
	// Rate is how many requests a second one client address may make in the long run, and as many one inviter or guest; ten seconds'
	// worth may come at once, and 429 answers what is above. Default: no limit.
	Rate float64
	// Origins are the origins of Web pages, beside the facade's own, that may use it by Basic (S5), as browsers write
	// them: "https://chat.example.com". Default: none.
	Origins []string
	// MaxBody is how many bytes a request's body may have; 413 above. Default 1 MiB: the longest message fits with
	// every character escaped.
	MaxBody int64
	// MaxWait bounds the wait of a long poll. Default 60 s.
	MaxWait time.Duration
	// KeepAlive is the distance of comments on an idle event stream. Default 15 s.
	KeepAlive time.Duration
	// Linger is how long a guest who polls counts as present after the last answer. Default 10 s.
	Linger time.Duration
	// StatusWait bounds how long a login waits for the inviters' states; later ones are "unknown"
	// and come as events. Default 2 s.
	StatusWait time.Duration
	// MaxStreams is how many event streams and waiting polls one guest may have open; 429 above. Default 16.
	MaxStreams int
	// MaxUploads is how many files one guest may be sending at a time; 429 above. Default 4.
	MaxUploads int
	// WriteTimeout is how long one write to an event stream may take. Default 10 s.
	WriteTimeout time.Duration
}

// Validate says what is wrong with o.
func (o Options) Validate() error {
	if o.Rate < 0 || o.MaxBody < 0 || o.MaxWait < 0 || o.KeepAlive < 0 || o.Linger < 0 || o.StatusWait < 0 || o.MaxStreams < 0 || o.MaxUploads < 0 || o.WriteTimeout < 0 {
		return errors.New("httpapi: limits must not be negative")
	}
	if _, err := url.Parse(o.PublicURL); err != nil {
		return fmt.Errorf("httpapi: public URL: %w", err)
	}
	if _, err := url.Parse(o.ContentURL); err != nil {
		return fmt.Errorf("httpapi: content URL: %w", err)
	}
	return nil
}

func (o Options) withDefaults() Options {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Guard == nil {
		o.Guard = limit.NewGuard(limit.Limits{})
	}
	if o.MaxBody == 0 {
		o.MaxBody = 1 << 20
	}
	if o.MaxWait == 0 {
		o.MaxWait = 60 * time.Second
	}
	if o.KeepAlive == 0 {
		o.KeepAlive = 15 * time.Second
	}
	if o.Linger == 0 {
		o.Linger = 10 * time.Second
	}
	if o.StatusWait == 0 {
		o.StatusWait = 2 * time.Second
	}
	if o.MaxStreams == 0 {
		o.MaxStreams = 16
	}
	if o.MaxUploads == 0 {
		o.MaxUploads = 4
	}
	if o.WriteTimeout == 0 {
		o.WriteTimeout = 10 * time.Second
	}
	return o
}
