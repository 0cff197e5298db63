package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"latchkey/httpapi"
	"latchkey/notify"
	"latchkey/web"
)

// front is the gateway's HTTP side: guests and inviters on one listener, operators on another.
type front struct {
	config Config
	guests *door
	admin  net.Listener
	ready  atomic.Bool
	cert   atomic.Pointer[tls.Certificate]

	api                      *httpapi.API
	guestServer, adminServer *http.Server
	fresh                    fresh
}

// Limits of HTTP connections; slow ones must not hold a place (F67).
const (
	readHeaderTimeout = 10 * time.Second
	idleTimeout       = 2 * time.Minute
	maxHeaderBytes    = 16 << 10
)

func newFront(c Config) (*front, error) {
	f := &front{config: c, fresh: fresh{conns: map[net.Conn]struct{}{}}}
	guests, err := net.Listen("tcp", c.HTTPListen)
	if err != nil {
		return nil, fmt.Errorf("http-listen: %w", err)
	}
	f.guests = newDoor(guests, c)
	if f.admin, err = net.Listen("tcp", c.AdminListen); err != nil {
		_ = f.guests.Close()
		return nil, fmt.Errorf("admin-listen: %w", err)
	}
	if err := f.reloadCertificate(); err != nil {
		f.close()
		return nil, err
	}
	return f, nil
}

func (f *front) reloadCertificate() error {
	if !f.config.HTTPS() {
		return nil
	}
	cert, err := tls.LoadX509KeyPair(f.config.HTTPTLSCert, f.config.HTTPTLSKey)
	if err != nil {
		return fmt.Errorf("http-tls-cert: %w", err)
	}
	f.cert.Store(&cert)
	return nil
}

// certificate is the current one of HTTPS; nil: there is none.
func (f *front) certificate() func() *tls.Certificate {
	if !f.config.HTTPS() {
		return nil
	}
	return f.cert.Load
}

// serve makes the two servers of the rooms.
func (f *front) serve(g *Gateway) {
	f.api = httpapi.New(httpapi.Ports{
		Desk: g.desk, Hall: g.hall, Presence: g.board, Directory: g.passport(), Files: shelf{g.files}, Uploads: g.contentServer(), Push: g.pushPort(), Page: web.Page(), Assets: web.Assets(), OptOut: web.OptOut(),
	}, httpapi.Options{PublicURL: g.URL(), ContentURL: f.config.FileUploadTo, AssertedUploads: f.config.FileUpload == AssertedUploads, DigestUploads: f.config.FileUpload == DigestUploads, Trusted: f.config.HTTPTrusted, Rate: f.config.HTTPRate, Origins: f.config.HTTPOrigins, Log: g.log})
	server := func(h http.Handler) *http.Server {
		return &http.Server{Handler: h, ReadHeaderTimeout: readHeaderTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes, ConnState: f.fresh.note}
	}
	f.guestServer, f.adminServer = server(f.api), server(f.operators(g))
	f.guestServer.ConnState = func(c net.Conn, s http.ConnState) {
		f.fresh.note(c, s)
		f.guests.note(c, s)
	}
	f.warn(g)
	f.guestServer.BaseContext = func(net.Listener) context.Context { return g.ctx } // streams end with the gateway
	if f.config.HTTPS() {
		f.guestServer.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return f.cert.Load(), nil
		}}
	}
}

// warn says what the operator should not leave so: passwords go by Basic, and S17 wants TLS under them.
func (f *front) warn(g *Gateway) {
	u, err := url.Parse(g.URL())
	if err != nil || u.Scheme == "https" {
		return
	}
	if host, err := netip.ParseAddr(u.Hostname()); err == nil && host.IsLoopback() || u.Hostname() == "localhost" {
		return
	}
	g.log.Warn("passwords and messages of guests are not protected on the way: give http-tls-cert and http-tls-key, or a public-url of https:// where TLS ends before the gateway", "url", g.URL())
}

// operators serves health and metrics. The listener is never public.
func (f *front) operators(g *Gateway) http.Handler {
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(overload{g.sip}, notify.Metrics(g.courier, g.teller.Load()), g.ledger.reports, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "latchkey_b2bua_dialogs", Help: "Standing SIP dialogs."}, func() float64 { return float64(g.engine.Legs()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "latchkey_gateway_ready", Help: "1 while new work is taken."}, func() float64 {
			if f.ready.Load() {
				return 1
			}
			return 0
		}), g.fileMetrics)
	if g.remote != nil {
		metrics.MustRegister(g.inquiries.collectors(g.remote)...)
	}
	if g.crier != nil {
		metrics.MustRegister(g.crier.Metrics()...)
	}
	metrics.MustRegister(append(f.api.Metrics(), f.guests.metrics()...)...)
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}))
	texts := preview(g.texts)
	mux.Handle("/templates", texts)
	mux.Handle("/templates/", texts)
	if g.mms != nil {
		mux.Handle("/mm7", g.mms.handler())
	}
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if !f.ready.Load() {
			http.Error(w, "draining or starting", http.StatusServiceUnavailable)
			return
		}
		if err := g.db.Read().PingContext(r.Context()); err != nil {
			http.Error(w, "data can't be read", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ready")
	})
	return mux
}

func (f *front) run(context.Context) error {
	if f.config.HTTPS() {
		return closedIsFine(f.guestServer.ServeTLS(f.guests, "", ""))
	}
	return closedIsFine(f.guestServer.Serve(f.guests))
}

func (f *front) runAdmin(context.Context) error { return closedIsFine(f.adminServer.Serve(f.admin)) }

func closedIsFine(err error) error {
	if errors.Is(err, http.ErrServerClosed) || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// shutdown ends the event streams, so that their clients reconnect, and lets other requests that are under way finish.
func (f *front) shutdown(ctx context.Context) error {
	f.api.Drain()
	// The listeners are closed first, so that no fresh connection comes after this.
	f.close()
	f.fresh.close()
	err := closedIsFine(f.guestServer.Shutdown(ctx))
	if err != nil {
		_ = f.guestServer.Close()
	}
	return errors.Join(err, f.api.Close(), closedIsFine(f.adminServer.Shutdown(ctx)))
}

func (f *front) close() {
	_ = f.guests.Close()
	_ = f.admin.Close()
}

// sameButFiles names the first option of d that can't be taken while running.
func (c Config) sameButFiles(d Config) error {
	a, b := reflect.ValueOf(c), reflect.ValueOf(d)
	for i := range a.NumField() {
		if !reflect.DeepEqual(a.Field(i).Interface(), b.Field(i).Interface()) {
			return fmt.Errorf("%s changed: a restart is needed; while running, the directory file and the TLS files are read again", a.Type().Field(i).Name)
		}
	}
	return nil
}

// fresh are the connections on which nothing was asked yet. http.Server.Shutdown waits 5 s for them; browsers
// open such connections ahead of need, and nothing is lost when they are closed.
type fresh struct {
	mu    sync.Mutex
	conns map[net.Conn]struct{}
}

// note is a http.Server's ConnState hook.
func (f *fresh) note(c net.Conn, s http.ConnState) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s == http.StateNew {
		f.conns[c] = struct{}{}
		return
	}
	delete(f.conns, c)
}

func (f *fresh) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for c := range f.conns {
		_ = c.Close()
	}
}
