package demo

import (
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"time"
)

// startBeside serves the guest's page once more, on a port of its own, so that it can stand in a frame beside Alice's phone. The
// gateway forbids frames, as it should; this way through allows the demo's page to have one, and changes nothing else.
func (w *World) startBeside() error {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	w.besideURL = "http://" + ln.Addr().String()
	target, err := url.Parse(w.gateway.URL())
	if err != nil {
		return err
	}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host // the page's own origin
		},
		FlushInterval: -1, // events at once
		ModifyResponse: func(res *http.Response) error {
			res.Header.Del("X-Frame-Options")
			policy := res.Header.Get("Content-Security-Policy")
			res.Header.Set("Content-Security-Policy", strings.Replace(policy, "frame-ancestors 'none'", "frame-ancestors "+w.url, 1))
			return nil
		},
		ErrorHandler: func(rw http.ResponseWriter, _ *http.Request, _ error) { rw.WriteHeader(http.StatusBadGateway) },
	}
	w.beside = &http.Server{Handler: proxy, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = w.beside.Serve(ln) }() // ends with Close
	return nil
}
