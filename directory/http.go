package directory

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"golang.org/x/sync/singleflight"

	"latchkey"
)

// Bounds of what an HTTP directory may cost.
const (
	maxBody  = 64 << 10         // octets of one answer
	maxKeep  = 10 * time.Minute // however long the directory would have us keep an answer
	maxConns = 64               // requests under way at once; others wait within their time
)

// HTTPOptions of an HTTP directory. URL is required.
type HTTPOptions struct {
	URL        string          // base, without credentials
	User       string          // of ours towards the directory, as Basic; "": none
	Password   latchkey.Secret // with User
	Token      latchkey.Secret // of ours, as Bearer (RFC 6750 §2.1); wins over User
	Roots      *x509.CertPool  // who may sign an https directory's certificate; nil: the system's
	Timeout    time.Duration   // of one request; default 5 s
	Keep       time.Duration   // of an answer that names a user and no max-age; default 30 s
	KeepAbsent time.Duration   // of a 404 without max-age; default 5 s
	KeepProof  time.Duration   // of a right password; default 1 min
	Watch      Watcher         // of the requests; nil: nobody
	Log        *slog.Logger
}

// Validate reports the first option that can't work.
func (o HTTPOptions) Validate() error {
	u, err := url.Parse(o.URL)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.RawQuery != "" || u.Fragment != "":
		return errors.New("directory: must be an http:// or https:// URL with a host and without query")
	case u.User != nil:
		return errors.New("directory: the URL must not carry credentials")
	case o.Timeout < 0 || o.Keep < 0 || o.KeepAbsent < 0 || o.KeepProof < 0:
		return errors.New("directory: times must not be negative")
	}
	return nil
}

// HTTP is a directory that another program serves. What it said lately is kept for a moment, equal questions that are
// under way share one request, and after some failures in a row it is left alone for a while. A failure is
// KindDirectoryFailed or KindDirectoryTimeout, and never "not registered".
type HTTP struct {
	opt     HTTPOptions
	client  *http.Client
	keys    *proofs // names under which passwords that were right are remembered
	flights singleflight.Group
	circuit circuit
	kept    atomic.Pointer[kept]

	ctx  context.Context // of all requests
	stop context.CancelFunc
}

// kept is what the directory said lately. Reload begins a new one.
type kept struct {
	users  *memory[string, found]
	proven *memory[[sha256.Size]byte, latchkey.Subscriber]
}

// found is the answer to a look-up.
type found struct {
	latchkey.Subscriber
	registered bool
}

// NewHTTP makes an HTTP directory; nothing is asked yet. The options must pass Validate. Close it in the end.
func NewHTTP(opt HTTPOptions) *HTTP {
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{{&opt.Timeout, 5 * time.Second}, {&opt.Keep, 30 * time.Second}, {&opt.KeepAbsent, 5 * time.Second}, {&opt.KeepProof, time.Minute}} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	if opt.Watch == nil {
		opt.Watch = unwatched{}
	}
	opt.URL = strings.TrimRight(opt.URL, "/")
	d := &HTTP{opt: opt, keys: newProofs()}
	d.client = &http.Client{
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true,
			DialContext:     (&net.Dialer{Timeout: opt.Timeout}).DialContext,
			TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: opt.Roots},
			MaxConnsPerHost: maxConns, MaxIdleConnsPerHost: maxConns / 4, IdleConnTimeout: time.Minute,
			MaxResponseHeaderBytes: 16 << 10,
		},
		// Credentials go to the host that the operator named and to no other.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	d.ctx, d.stop = context.WithCancel(context.Background())
	_ = d.Reload()
	return d
}

// Reload forgets what the directory said, so that it is asked anew. It returns nil.
func (d *HTTP) Reload() error {
	d.kept.Store(&kept{newMemory[string, found](), newMemory[[sha256.Size]byte, latchkey.Subscriber]()})
	return nil
}

// Close ends requests that are under way. It is idempotent.
func (d *HTTP) Close() error {
	d.stop()
	d.client.CloseIdleConnections()
	return nil
}

// Find gives the registered user whom the identifier reaches. Nobody is KindNotFound.
func (d *HTTP) Find(ctx context.Context, id latchkey.Identifier) (latchkey.Subscriber, error) {
	return d.user(ctx, id.Value)
}

// FindURI gives the registered user whom the address names: their URI, or their number as tel: or
// under their own domain. Nobody is KindNotFound.
func (d *HTTP) FindURI(ctx context.Context, a latchkey.Address) (latchkey.Subscriber, error) {
	number := a.Number()
	if a.Scheme() == "tel" {
		return d.user(ctx, number)
	}
	s, err := d.user(ctx, a.Identity())
	if number == "" || !latchkey.Is(err, latchkey.KindNotFound) {
		return s, err
	}
	// RFC 3261 §19.1.6: a number in a SIP URI is the party's only in the party's own domain.
	if s, err = d.user(ctx, number); err == nil && s.URI.Host() != a.Host() {
		return latchkey.Subscriber{}, latchkey.Errorf(latchkey.KindNotFound, "")
	}
	return s, err
}

// user asks for one user by URI, number or mailbox.
func (d *HTTP) user(ctx context.Context, name string) (latchkey.Subscriber, error) {
	now := d.kept.Load()
	f, known := now.users.get(name)
	if known {
		d.opt.Watch.Remembered("users")
	} else {
		var err error
		if f, err = share(d, ctx, "user "+name, func(ctx context.Context) (found, error) { return d.ask(ctx, now, name) }); err != nil {
			return latchkey.Subscriber{}, err
		}
	}
	if !f.registered {
		return latchkey.Subscriber{}, latchkey.Errorf(latchkey.KindNotFound, "")
	}
	return f.Subscriber, nil
}

func (d *HTTP) ask(ctx context.Context, now *kept, name string) (f found, err error) {
	// A + in a path is itself, but programs are met that read a space.
	res, err := d.call(ctx, http.MethodGet, "/users/"+strings.ReplaceAll(url.PathEscape(name), "+", "%2B"), nil)
	if err != nil {
		return f, err
	}
	keep := d.opt.Keep
	switch {
	case res.status == http.StatusOK:
		if f.Subscriber, err = parseUser(res.body); err != nil {
			return f, d.failed("users", err)
		}
		f.registered = true
	case res.status == http.StatusNotFound && !res.page():
		keep = d.opt.KeepAbsent
	default:
		return f, d.unexpected("users", res)
	}
	now.users.put(name, f, freshFor(res.header, keep, maxKeep))
	return f, nil
}

// Authenticate gives the user whose name and password these are, as File.Authenticate does. That it takes the same
// time whatever is wrong is the directory's part.
func (d *HTTP) Authenticate(ctx context.Context, user, password string) (latchkey.Subscriber, error) {
	wrong := latchkey.Errorf(latchkey.KindUnauthorized, "")
	name, ok := spelled(user)
	if !ok || password == "" || len(password) > maxPassword || !utf8.ValidString(password) {
		return latchkey.Subscriber{}, wrong
	}
	now, proof := d.kept.Load(), d.keys.sum("http", name, password)
	if s, ok := now.proven.get(proof); ok {
		d.opt.Watch.Remembered("authenticate")
		return s, nil
	}
	return share(d, ctx, "proof "+string(proof[:]), func(ctx context.Context) (s latchkey.Subscriber, err error) {
		res, err := d.call(ctx, http.MethodPost, "/authenticate", map[string]string{"user": name, "password": password})
		if err != nil {
			return s, err
		}
		switch res.status {
		case http.StatusOK:
			if s, err = parseUser(res.body); err != nil {
				return s, d.failed("authenticate", err)
			}
			now.proven.put(proof, s, freshFor(res.header, d.opt.KeepProof, proofHolds))
			return s, nil
		case http.StatusUnauthorized:
			return s, wrong
		case http.StatusTooManyRequests: // the directory counts failures of this user, too
			return s, &latchkey.Error{Kind: latchkey.KindTooManyRequests, RetryAfter: res.retryAfter(), Err: errors.New("directory: authenticate: 429")}
		}
		return s, d.unexpected("authenticate", res)
	})
}

// spelled is a user's name as the directory reads it: a URI.
func spelled(user string) (string, bool) {
	scheme := ""
	switch lower := strings.ToLower(user); {
	case strings.HasPrefix(lower, "sip:"), strings.HasPrefix(lower, "sips:"), strings.HasPrefix(lower, "tel:"):
	case strings.HasPrefix(user, "+") && !strings.Contains(user, "@"):
		scheme = "tel:"
	default:
		scheme = "sip:"
	}
	a, err := latchkey.ParseAddress(scheme + user)
	return a.Identity(), err == nil && a.User() != ""
}

// Allot asks for an account for somebody who has none (R9), and for its SIP password, which may be empty. For the
// same identifier the directory gives the same account.
func (d *HTTP) Allot(ctx context.Context, id latchkey.Identifier) (latchkey.AccountID, latchkey.Secret, error) {
	type allotted struct {
		account  latchkey.AccountID
		password latchkey.Secret
	}
	a, err := share(d, ctx, "account "+id.Value, func(ctx context.Context) (a allotted, err error) {
		res, err := d.call(ctx, http.MethodPost, "/accounts", map[string]string{"identifier": id.Value})
		if err != nil {
			return a, err
		}
		if res.status != http.StatusOK && res.status != http.StatusCreated {
			return a, d.unexpected("accounts", res)
		}
		if a.account, a.password, err = parseAccount(res.body); err != nil {
			return a, d.failed("accounts", err)
		}
		return a, nil
	})
	return a.account, a.password, err
}

// share lets equal questions that are under way at once share one answer. It outlives a caller who leaves.
func share[T any](d *HTTP, ctx context.Context, key string, f func(context.Context) (T, error)) (T, error) {
	done := d.flights.DoChan(key, func() (any, error) { // ends with the request's timeout, or with Close
		ctx, cancel := context.WithTimeout(d.ctx, d.opt.Timeout)
		defer cancel()
		return f(ctx)
	})
	select {
	case r := <-done:
		return r.Val.(T), r.Err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}

// response is an answer that came as a whole.
type response struct {
	status int
	header http.Header
	body   []byte
}

// page reports whether the answer is for people to look at: then it is not the directory's, but of a proxy or of a
// server that knows nothing under this address.
func (r response) page() bool {
	return strings.HasPrefix(strings.ToLower(r.header.Get("Content-Type")), "text/html")
}

// call sends one request, if the circuit lets it. An error is the directory's failure.
func (d *HTTP) call(ctx context.Context, method, path string, body any) (res response, err error) {
	begin := time.Now()
	defer func() {
		if d.ctx.Err() == nil { // what Close has ended tells nothing
			d.tell(path, res, err, time.Since(begin))
		}
	}()
	if wait, ok := d.circuit.enter(time.Now()); !ok {
		return response{}, &latchkey.Error{Kind: latchkey.KindDirectoryFailed, RetryAfter: wait, Err: errLeftAlone}
	}
	res, err = d.do(ctx, method, path, body)
	if d.ctx.Err() != nil {
		d.circuit.leave(nil, 0, time.Now())
		return res, latchkey.Wrap(latchkey.KindUnavailable, d.ctx.Err(), "")
	}
	fault := err
	if err == nil && res.status >= 500 {
		fault = fmt.Errorf("answers %d", res.status)
	}
	switch rest, change := d.circuit.leave(fault, res.retryAfter(), time.Now()); change {
	case opened:
		d.opt.Log.Warn("directory is left alone", "rest", rest, latchkey.LogError, fault)
	case closed:
		d.opt.Log.Info("directory answers again")
	}
	if err == nil {
		return res, nil
	}
	kind := latchkey.KindDirectoryFailed
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() || errors.Is(err, context.DeadlineExceeded) {
		kind = latchkey.KindDirectoryTimeout
	}
	return res, latchkey.Wrap(kind, fmt.Errorf("directory: %w", err), "")
}

var errLeftAlone = errors.New("directory: failed before and is left alone")

func (d *HTTP) do(ctx context.Context, method, path string, body any) (response, error) {
	var content io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return response{}, err
		}
		content = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, d.opt.URL+path, content)
	if err != nil {
		return response{}, err
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "Latchkey")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
		req.Header["X-Idempotency-Key"] = nil // net/http may repeat it on a fresh connection; the field itself is not sent
	}
	switch {
	case d.opt.Token != "":
		req.Header.Set("Authorization", "Bearer "+d.opt.Token.Reveal())
	case d.opt.User != "":
		req.SetBasicAuth(d.opt.User, d.opt.Password.Reveal())
	}
	res, err := d.client.Do(req)
	if err != nil {
		// The URL that the error repeats names a person.
		if u, ok := errors.AsType[*url.Error](err); ok {
			err = u.Err
		}
		return response{}, err
	}
	defer res.Body.Close()
	r := response{status: res.StatusCode, header: res.Header}
	r.body, err = io.ReadAll(io.LimitReader(res.Body, maxBody+1))
	if err == nil && len(r.body) > maxBody {
		err = fmt.Errorf("the answer has more than %d octets", maxBody)
	}
	return r, err
}

// failed is the error for an answer that makes no sense.
func (d *HTTP) failed(what string, err error) error {
	return latchkey.Wrap(latchkey.KindDirectoryFailed, fmt.Errorf("directory: %s: %w", what, err), "")
}

// unexpected is the error for a status that means nothing here, with a hint for the operator.
func (d *HTTP) unexpected(what string, res response) error {
	hint := ""
	switch {
	case res.status == http.StatusUnauthorized || res.status == http.StatusForbidden:
		hint = "; it refuses the credentials in the option's URL"
	case res.status >= 300 && res.status < 400:
		hint = "; redirects are not followed, name the address itself"
	case res.page():
		hint = " and a page; that address is not the directory's base"
	}
	return &latchkey.Error{Kind: latchkey.KindDirectoryFailed, RetryAfter: res.retryAfter(), Err: fmt.Errorf("directory: %s: answers %d%s", what, res.status, hint)}
}
