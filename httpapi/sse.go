package httpapi

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"latchkey"
)

// streamHeaders are those of a stream of events.
func streamHeaders(h http.Header) {
	h.Set("Content-Type", string(sseFormat))
	h.Set("X-Accel-Buffering", "no") // nginx must not keep events back
}

// stream answers with server-sent events (WHATWG HTML §9.2) until the client or the gateway goes.
func (a *API) stream(ctx context.Context, w http.ResponseWriter, account latchkey.AccountID, after int64) error {
	w.WriteHeader(http.StatusOK)
	out := &sseOutlet{w: w, c: http.NewResponseController(w), timeout: a.opt.WriteTimeout}
	defer out.patience() // for what the server itself writes at the end
	// Headers and a first comment leave at once, so that the client knows that it is heard.
	if err := out.idle(); err != nil {
		return nil //nolint:nilerr // the client has gone
	}
	if err := a.follow(ctx, account, after, out); err != nil && !parting(ctx, err) {
		return err
	}
	return nil
}

// sseOutlet writes to one stream. A client that doesn't read is cut off by the deadline of a write.
type sseOutlet struct {
	w       http.ResponseWriter
	c       *http.ResponseController
	timeout time.Duration
	buf     []byte
}

func (o *sseOutlet) patience() { _ = o.c.SetWriteDeadline(time.Now().Add(o.timeout)) }

// rest takes the deadline back: HTTP/2 ends a stream when it passes, though nothing is being written.
func (o *sseOutlet) rest() { _ = o.c.SetWriteDeadline(time.Time{}) }

func (o *sseOutlet) event(e latchkey.Event) (err error) {
	if o.buf, err = sseBlock(o.buf[:0], e); err != nil {
		return err
	}
	o.patience()
	_, err = o.w.Write(o.buf)
	return err
}

// sseBlock adds one event as a stream has it. It has no type of its own, so that one listener hears them all; JSON has no line end.
func sseBlock(b []byte, e latchkey.Event) ([]byte, error) {
	data, err := encode(e)
	if err != nil {
		return b, err
	}
	if e.ID != 0 {
		b = append(strconv.AppendInt(append(b, "id: "...), e.ID, 10), '\n')
	}
	return append(append(append(b, "data: "...), data...), "\n\n"...), nil
}

func (o *sseOutlet) flush() error {
	o.patience()
	defer o.rest()
	return o.c.Flush()
}

// idle writes a comment: proxies keep the connection, clients know that it lives, and a client that
// went without a word is found out.
func (o *sseOutlet) idle() error {
	o.patience()
	defer o.rest()
	if _, err := o.w.Write([]byte(":\n\n")); err != nil {
		return err
	}
	return o.c.Flush()
}
