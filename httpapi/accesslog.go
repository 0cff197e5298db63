package httpapi

import (
	"errors"
	"net/http"
	"regexp"
	"strings"
	"time"

	"latchkey"
)

// recorder remembers what was answered. It unwraps for http.ResponseController and hijackers.
type recorder struct {
	http.ResponseWriter
	status int
	bytes  int64
	cause  error
	route  string // as the metrics name it; "" where there is none
}

// WriteHeader notes the final status.
func (w *recorder) WriteHeader(code int) {
	if w.status == 0 && code >= 200 || code == http.StatusSwitchingProtocols {
		w.status = code
	}
	w.ResponseWriter.WriteHeader(code)
}

// Write counts.
func (w *recorder) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	n, err := w.ResponseWriter.Write(b)
	w.bytes += int64(n)
	return n, err
}

// Unwrap gives the server's own writer.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

var passwordInPath = regexp.MustCompile(`(?i)passwd=[^&/]*`)

// secretPath is a path without what opens doors: passwords, and the keys of files.
func secretPath(path string) string {
	if strings.HasPrefix(path, publicFilePath) {
		return publicFilePath + "***"
	}
	return passwordInPath.ReplaceAllString(path, "passwd=***")
}

// logRequest gives the function that writes the access log's line. The line never has a query,
// a header or a body, so a password has no way into it (S2); one that somebody put
// into a path by a wrong escape is masked.
func (a *API) logRequest(rec *recorder, r *http.Request) func() {
	start := time.Now()
	method, path := r.Method, secretPath(r.URL.Path)
	return func() {
		attrs := []any{"method", method, "path", path, "status", rec.status, "bytes", rec.bytes,
			"duration", time.Since(start).Round(time.Microsecond), "from", a.remote(r).String()}
		if rec.cause == nil || errors.Is(rec.cause, errHeld) {
			a.opt.Log.DebugContext(r.Context(), "http request", attrs...)
			return
		}
		attrs = append(attrs, latchkey.LogError, passwordInPath.ReplaceAllString(rec.cause.Error(), "passwd=***"))
		a.opt.Log.Log(r.Context(), latchkey.KindOf(rec.cause).Row().Level, "http request", attrs...)
	}
}
