package httpapi

import (
	"fmt"
	"net"
	"net/http"
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
