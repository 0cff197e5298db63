package httpapi

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"latchkey"
)

// detach takes an HTTP/1.1 request's connection away from the server, which would keep two buffers, the request and a deep stack
// for as long as a stream lasts. nil: it can't be had, as under HTTP/2. What the answer's header says goes with it.
func detach(w http.ResponseWriter, r *http.Request) net.Conn {
	if r.ProtoMajor != 1 || r.ProtoMinor < 1 {
		return nil
	}
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil
	}
	if rec, ok := w.(*recorder); ok {
		rec.status = http.StatusOK // for the log
	}
	return conn
}

// carry writes a guest's events to a detached connection until the client or the gateway goes, and closes it. leave is the guest's
// of attendance.enter.
func (a *API) carry(conn net.Conn, h http.Header, account latchkey.AccountID, after int64, leave func()) {
	defer leave()
	defer func() {
		if p := recover(); p != nil {
			a.opt.Log.Error("event stream panicked", "panic", p, "stack", stack())
		}
	}()
	ctx, cancel := context.WithCancel(a.open)
	defer cancel()
	var reading sync.WaitGroup
	reading.Go(func() { // ends with the connection, which is closed below
		defer cancel()
		var b [64]byte // a client has nothing to say any more
		for {
			if _, err := conn.Read(b[:]); err != nil {
				return
			}
		}
	})
	out := &wireOutlet{conn: conn, timeout: a.opt.WriteTimeout}
	err := out.begin(h)
	if err == nil {
		err = a.follow(ctx, account, after, out)
	}
	if err == nil || parting(ctx, err) {
		_ = out.end() // where the client has gone there is nobody to tell
	} else {
		a.opt.Log.Error("event stream broke", latchkey.LogGuest, account, latchkey.LogError, err)
	}
	_ = conn.Close()
	reading.Wait()
}

// wireOutlet writes server-sent events in chunks (RFC 9112 §7.1). It has no buffer while there is nothing to write. A client that doesn't read
// is cut off by the deadline of a write.
type wireOutlet struct {
	conn    net.Conn
	timeout time.Duration
	buf     []byte
}

// begin writes the answer's header, and a first comment, so that the client knows that it is heard.
func (o *wireOutlet) begin(h http.Header) error {
	h.Set("Date", time.Now().UTC().Format(http.TimeFormat))
	h.Set("Transfer-Encoding", "chunked")
	h.Set("Connection", "close")
	o.buf = append(o.buf, "HTTP/1.1 200 OK\r\n"...)
	if err := h.Write(o); err != nil {
		return err
	}
	o.buf = append(o.buf, "\r\n"...)
	o.chunk([]byte(":\n\n"))
	return o.flush()
}

// Write adds to what flush will write.
func (o *wireOutlet) Write(b []byte) (int, error) {
	o.buf = append(o.buf, b...)
	return len(b), nil
}

func (o *wireOutlet) chunk(b []byte) {
	o.buf = append(strconv.AppendInt(o.buf, int64(len(b)), 16), "\r\n"...)
	o.buf = append(append(o.buf, b...), "\r\n"...)
}

func (o *wireOutlet) event(e latchkey.Event) error {
	block, err := sseBlock(nil, e)
	if err != nil {
		return err
	}
	o.chunk(block)
	if len(o.buf) > 32<<10 {
		return o.flush()
	}
	return nil
}

func (o *wireOutlet) flush() error {
	_ = o.conn.SetWriteDeadline(time.Now().Add(o.timeout))
	_, err := o.conn.Write(o.buf)
	o.buf = nil
	return err
}

func (o *wireOutlet) idle() error {
	o.chunk([]byte(":\n\n"))
	return o.flush()
}

// end says that there is no more.
func (o *wireOutlet) end() error {
	_, _ = io.WriteString(o, "0\r\n\r\n")
	return o.flush()
}

// aside runs f on a stack of its own. Queries need deep ones, and the stack of who waits for as long as a stream lasts should
// not have grown for them.
func aside[T any](f func() (T, error)) (v T, err error) {
	done := make(chan any, 1)
	go func() { // ends with f
		defer func() {
			if p := recover(); p != nil {
				done <- fmt.Sprintf("%v\n%s", p, stack())
			}
			close(done)
		}()
		v, err = f()
	}()
	if p := <-done; p != nil {
		panic(p)
	}
	return v, err
}
