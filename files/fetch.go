package files

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"latchkey"
	"latchkey/internal/stranger"
)

// Limits of what is fetched from a stranger's server.
const (
	maxFetches    = 32          // at a time
	fetchLong     = time.Minute // a fetch that takes longer counts as one from a slow server
	maxRedirects  = 5
	fetchTime     = 2 * time.Hour // one attempt
	fetchQuiet    = 30 * time.Second
	fetchRate     = 1 << 10 // bytes a second, at least
	fetchAttempts = 10
	firstPause    = 2 * time.Second // doubles, up to maxPause
	maxPause      = 10 * time.Minute
)

// final is a failure that no repeat mends, with what the guest is told.
type final struct {
	reason string
	err    error
}

func (f *final) Error() string { return f.err.Error() }
func (f *final) Unwrap() error { return f.err }

func never(reason, format string, args ...any) error {
	return &final{reason, fmt.Errorf(format, args...)}
}

// Promise stores that an inviter has told where a file of theirs can be fetched (f.Source), and has it fetched. It is on disk when
// Promise returns; what becomes of it is told by Options.Arrived. A repeat of f.RemoteID is none. preview is the address of a
// small picture, or "".
func (v *Vault) Promise(ctx context.Context, f latchkey.StoredFile, preview string) error {
	f, err := v.prepare(f)
	if err != nil {
		return err
	}
	stored, repeated, err := v.rows.AddFile(ctx, f, v.opt.Quota)
	if err != nil || repeated {
		return err
	}
	v.fetch(stored, preview)
	return nil
}

// fetch fetches a file beside the caller.
func (v *Vault) fetch(f latchkey.StoredFile, preview string) {
	if v.ctx.Err() != nil {
		return // after the restart, then
	}
	v.fetching.Go(func() { // ends with the file, or with Close
		err := v.fetchAll(v.ctx, f, preview)
		if err == nil || v.ctx.Err() != nil || latchkey.Is(err, latchkey.KindNotFound) || latchkey.Is(err, latchkey.KindConflict) {
			return // cancelled, or the relation is gone, too
		}
		// The address is the key to the file: it is not logged.
		v.log.Info("file not fetched", latchkey.LogFile, f.ID, latchkey.LogRelation, f.Relation, latchkey.LogError, stranger.WithoutURL(err))
		reason := "It could not be fetched."
		switch end, ok := errors.AsType[*final](err); {
		case ok:
			reason = end.reason
			v.counts.ended(f.Direction, Refused)
		case latchkey.Is(err, latchkey.KindUnavailable), latchkey.Is(err, latchkey.KindInternal):
			v.counts.ended(f.Direction, Lost)
		}
		if err := v.Fail(v.ctx, f, reason); err != nil {
			v.log.Error("file not given up", latchkey.LogFile, f.ID, latchkey.LogError, err)
		}
	})
}

// fetchAll tries until the file is here.
func (v *Vault) fetchAll(ctx context.Context, f latchkey.StoredFile, preview string) error {
	client := v.client()
	defer client.CloseIdleConnections()
	pause := firstPause
	validator := ""
	for attempt := 1; ; attempt++ {
		err := v.inTurn(ctx, f, func() error { return v.attempt(ctx, client, f, preview, &validator) })
		if err == nil || ctx.Err() != nil {
			return err
		}
		if _, ok := errors.AsType[*final](err); ok || attempt == fetchAttempts {
			return err
		}
		if k := latchkey.KindOf(err); k != latchkey.KindInternal && k != latchkey.KindUnavailable {
			return err // of the vault
		}
		wait := time.NewTimer(pause)
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
			return ctx.Err()
		}
		pause = min(2*pause, maxPause)
	}
}

// inTurn has an attempt made when it is its turn. A place is held while something comes, not while we wait for better times.
func (v *Vault) inTurn(ctx context.Context, f latchkey.StoredFile, attempt func() error) error {
	host := ""
	if u, err := url.Parse(f.Source.Reveal()); err == nil {
		host = u.Hostname()
	}
	turn, err := v.gate.Enter(ctx, host, string(f.Inviter))
	if err != nil {
		return err
	}
	long := time.AfterFunc(fetchLong, turn.Linger)
	begun := time.Now()
	err = attempt()
	long.Stop()
	v.counts.fetched(err)
	turn.Leave(mannerOf(ctx, err, time.Since(begun)))
	return err
}

// mannerOf is how the server behaved that a file was fetched from.
func mannerOf(ctx context.Context, err error, took time.Duration) stranger.Manner {
	_, ended := errors.AsType[*final](err)
	switch k := latchkey.KindOf(err); {
	case ctx.Err() != nil, errors.Is(err, stranger.ErrForbidden), err != nil && !ended && k != latchkey.KindInternal && k != latchkey.KindUnavailable: // of the vault
		return stranger.Unasked
	case err != nil && !ended:
		return stranger.Silent
	case took > fetchLong:
		return stranger.Slow
	}
	return stranger.Prompt
}

// client asks nobody but whom Peers allows: the address is looked at when the connection is made, behind every name and redirect. No
// proxy of the environment is used, which would do the asking for us.
func (v *Vault) client() *http.Client {
	var transport http.RoundTripper = &http.Transport{
		DialContext: stranger.Dial(v.opt.Peers.Allows), TLSHandshakeTimeout: 10 * time.Second, ResponseHeaderTimeout: 15 * time.Second,
		MaxResponseHeaderBytes: 32 << 10, DisableCompression: true, MaxIdleConnsPerHost: 1, ForceAttemptHTTP2: true,
	}
	if v.opt.Own != nil {
		transport = ownFirst{v.opt.Own, transport}
	}
	return &http.Client{
		Transport: transport,
		CheckRedirect: func(r *http.Request, via []*http.Request) error {
			if len(via) > maxRedirects {
				return never("It could not be fetched.", "more than %d redirects", maxRedirects)
			}
			r.Header.Del("Referer") // the address before is a key, too
			return checkURL(r.URL)
		},
	}
}

// ownFirst asks the network only for what isn't ours.
type ownFirst struct {
	own func(*http.Request) *http.Response
	http.RoundTripper
}

// RoundTrip answers a request.
func (o ownFirst) RoundTrip(r *http.Request) (*http.Response, error) {
	if res := o.own(r); res != nil {
		return res, nil
	}
	return o.RoundTripper.RoundTrip(r)
}

// CloseIdleConnections is what http.Client looks for.
func (o ownFirst) CloseIdleConnections() {
	if t, ok := o.RoundTripper.(*http.Transport); ok {
		t.CloseIdleConnections()
	}
}

// checkURL refuses what is no plain HTTP address.
func checkURL(u *url.URL) error {
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil {
		return never("Its address is not allowed.", "%w: scheme %.10q", stranger.ErrForbidden, u.Scheme)
	}
	return nil
}

// get asks for bytes from an offset on. The caller closes the body; quiet must be called for each read.
func (v *Vault) get(ctx context.Context, client *http.Client, address string, from int64, validator string) (res *http.Response, err error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, never("Its address is not allowed.", "%w: not a URL", stranger.ErrForbidden)
	}
	if err := checkURL(u); err != nil {
		return nil, err
	}
	u.Fragment = ""
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, never("Its address is not allowed.", "%w: not a URL", stranger.ErrForbidden)
	}
	req.Header.Set("User-Agent", "Latchkey")
	req.Header.Set("Accept", "*/*")
	req.Header.Set("Accept-Encoding", "identity")
	if from > 0 {
		req.Header.Set("Range", "bytes="+strconv.FormatInt(from, 10)+"-")
		if validator != "" {
			req.Header.Set("If-Range", validator) // RFC 9110 §13.1.5: what changed meanwhile comes from its beginning
		}
	}
	res, err = client.Do(req)
	if errors.Is(err, stranger.ErrForbidden) {
		if f, ok := errors.AsType[*final](err); ok {
			return nil, f
		}
		return nil, &final{"Its address is not allowed.", stranger.WithoutURL(err)}
	}
	return res, err
}

// attempt fetches what is missing.
func (v *Vault) attempt(ctx context.Context, client *http.Client, f latchkey.StoredFile, preview string, validator *string) error {
	ctx, cancel := context.WithTimeout(ctx, fetchTime)
	defer cancel()
	w, err := v.Resume(ctx, f.ID)
	if err != nil {
		return err
	}
	// Whatever happens, what is here stays for the next attempt; Commit has no use of it.
	defer func() { _ = w.Pause(ctx) }()
	ctx, stop := whileHeld(ctx, w)
	defer stop()
	if preview != "" && w.File().Preview == "" {
		v.fetchPreview(ctx, client, w, preview)
	}
	if size := w.File().Size; size < 0 || w.Offset() < size || size == 0 {
		if err := v.fetchRest(ctx, client, w, f.Source.Reveal(), validator); err != nil {
			select {
			case <-w.Taken():
				return errTaken()
			default:
				return err
			}
		}
	}
	_, err = w.Commit(ctx)
	return err
}

// whileHeld is a context that also ends when the writer must let go.
func whileHeld(ctx context.Context, w *Writer) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() { // ends with ctx
		select {
		case <-w.Taken():
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

func (v *Vault) fetchRest(ctx context.Context, client *http.Client, w *Writer, address string, validator *string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	res, err := v.get(ctx, client, address, w.Offset(), *validator)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	switch {
	case res.StatusCode == http.StatusPartialContent:
		var from int64
		if _, err := fmt.Sscanf(res.Header.Get("Content-Range"), "bytes %d-", &from); err != nil || from != w.Offset() {
			return never("It could not be fetched.", "asked from %d, got %.60q", w.Offset(), res.Header.Get("Content-Range"))
		}
	case res.StatusCode == http.StatusOK:
		if w.Offset() > 0 {
			if err := w.Restart(); err != nil {
				return err
			}
		}
	case res.StatusCode == http.StatusRequestedRangeNotSatisfiable && w.Offset() > 0:
		if err := w.Restart(); err != nil {
			return err
		}
		return fmt.Errorf("the server has no bytes from there on")
	case res.StatusCode == http.StatusTooManyRequests, res.StatusCode == http.StatusRequestTimeout, res.StatusCode >= 500:
		return fmt.Errorf("status %d", res.StatusCode)
	case res.StatusCode == http.StatusNotFound, res.StatusCode == http.StatusGone:
		return never("It is no longer there.", "status %d", res.StatusCode)
	default:
		return never("It could not be fetched.", "status %d", res.StatusCode)
	}
	if e := res.Header.Get("Content-Encoding"); e != "" && !strings.EqualFold(e, "identity") {
		return never("It could not be fetched.", "content encoding %.20q", e)
	}
	if e := res.Header.Get("ETag"); strings.HasPrefix(e, `"`) { // RFC 9110 §13.1.5: a strong one
		*validator = e
	}
	size := w.File().Size
	if res.ContentLength >= 0 {
		total := w.Offset() + res.ContentLength
		if total > v.opt.MaxSize {
			return never("It is too large.", "%d bytes", total)
		}
		if size >= 0 && total != size {
			return never("It is not what was promised.", "%d bytes instead of %d", total, size)
		}
	}
	// A server that trickles holds no place for long.
	idle, start, before := time.AfterFunc(fetchQuiet, cancel), time.Now(), w.Offset()
	defer idle.Stop()
	buf := make([]byte, 64<<10)
	for {
		n, err := res.Body.Read(buf)
		slack := 2*fetchQuiet + time.Duration((w.Offset()-before)/fetchRate)*time.Second - time.Since(start)
		idle.Reset(min(fetchQuiet, max(slack, 0)))
		if n > 0 {
			if _, err := w.Write(buf[:n]); err != nil {
				switch latchkey.KindOf(err) {
				case latchkey.KindTooLarge:
					return &final{"It is too large.", err}
				case latchkey.KindBadRequest:
					return &final{"It is not what was promised.", err}
				}
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			if size >= 0 && w.Offset() < size {
				return io.ErrUnexpectedEOF
			}
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// fetchPreview fetches a small picture. A file without one is as good.
func (v *Vault) fetchPreview(ctx context.Context, client *http.Client, w *Writer, address string) {
	ctx, cancel := context.WithTimeout(ctx, fetchQuiet)
	defer cancel()
	res, err := v.get(ctx, client, address, 0, "")
	if err != nil {
		return
	}
	defer res.Body.Close()
	picture, err := io.ReadAll(io.LimitReader(res.Body, MaxPreview+1))
	if err != nil || res.StatusCode != http.StatusOK {
		return
	}
	if err := w.SetPreview(ctx, res.Header.Get("Content-Type"), picture); err != nil {
		v.log.Warn("preview not stored", latchkey.LogFile, w.File().ID, latchkey.LogError, err)
	}
}
