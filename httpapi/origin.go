package httpapi

import (
	"net/http"
	"slices"
)

// Pages of other origins (WHATWG Fetch, the CORS protocol). None may read answers unless the operator lists it, and those that are listed
// use Basic: the cookie is SameSite=Strict, and no answer here allows credentials.

// listed reports whether a request comes from a page whose origin the operator has listed.
func (a *API) listed(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	return origin != "" && slices.Contains(a.opt.Origins, origin)
}

// preflight tells a browser what a listed page may do; true: that was all that the request asked.
func (a *API) preflight(w http.ResponseWriter, r *http.Request) bool {
	if len(a.opt.Origins) == 0 {
		return false
	}
	h := w.Header()
	h.Add("Vary", "Origin")
	if !a.listed(r) {
		return false
	}
	h.Set("Access-Control-Allow-Origin", r.Header.Get("Origin"))
	h.Set("Access-Control-Expose-Headers", "Allow, Content-Disposition, ETag, Location, Retry-After, Upload-Complete, Upload-Length, Upload-Limit, Upload-Offset")
	h.Set("Cross-Origin-Resource-Policy", "cross-origin")
	if r.Method != http.MethodOptions || r.Header.Get("Access-Control-Request-Method") == "" {
		return false
	}
	h.Set("Access-Control-Allow-Methods", "GET, HEAD, POST, PATCH, DELETE")
	h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, Content-Disposition, Idempotency-Key, If-None-Match, If-Range, Last-Event-ID, Latchkey-Client, Range, Upload-Complete, Upload-Length, Upload-Offset")
	h.Set("Access-Control-Max-Age", "600")
	w.WriteHeader(http.StatusNoContent)
	return true
}
