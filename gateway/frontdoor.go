package gateway

import (
	queue "container/list"
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"latchkey/internal/limit"
)

// door is the listener of guests and inviters, with a bound on connections (F67). Those on which nothing is under way, because their first
// request isn't whole yet or because they wait for another one, make room for new ones: the one that has been quiet for the longest
// goes first. So neither thousands of half-open connections nor one address that takes all it can get keep others out.
//
// It is also the http.Server's ConnState hook: the server knows what is quiet.
type door struct {
	net.Listener
	most    int // connections at a time
	place   int // of one address
	quiet   int // of one address, while quiet
	trusted []netip.Prefix

	mu     sync.Mutex
	open   map[string]int                    // by place
	total  int                               // all of open
	idle   map[net.Conn]*queue.Element       // those that are quiet, in the lists below
	order  *queue.List                       // of *entry, quiet for the longest first
	places map[string]*queue.List            // the same by place
	inside map[*queue.Element]*queue.Element // from order to places

	ousted *prometheus.CounterVec
}

// Shares of http-connections that one address may have.
const (
	placeShare = 4  // a quarter: of all
	quietShare = 16 // a sixteenth: of quiet ones
)

// entry is a quiet connection.
type entry struct {
	conn  net.Conn
	place string
}

func newDoor(l net.Listener, c Config) *door {
	return &door{
		ousted: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "latchkey_gateway_http_connections_ousted_total",
			Help: "HTTP connections closed because there were too many: quiet ones that made room, and those that found none."}, []string{"why"}),
		Listener: l, most: c.HTTPConnections, place: max(c.HTTPConnections/placeShare, 1), quiet: max(c.HTTPConnections/quietShare, 1), trusted: c.HTTPTrusted,
		open: map[string]int{}, idle: map[net.Conn]*queue.Element{}, order: queue.New(), places: map[string]*queue.List{}, inside: map[*queue.Element]*queue.Element{},
	}
}

// Why a connection is closed.
const (
	madeRoom = "made-room"
	noRoom   = "no-room"
)

// metrics are the door's, for a registry.
func (d *door) metrics() []prometheus.Collector {
	count := func(name, help string, n func() int) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 {
			d.mu.Lock()
			defer d.mu.Unlock()
			return float64(n())
		})
	}
	for _, why := range []string{madeRoom, noRoom} {
		d.ousted.WithLabelValues(why) // an alert wants a zero to begin with
	}
	return []prometheus.Collector{
		d.ousted,
		count("latchkey_gateway_http_connections", "Open HTTP connections of guests and inviters, event streams included.", func() int { return d.total }),
		count("latchkey_gateway_http_connections_quiet", "Those of them that wait for a request, or for the rest of a first one.", func() int { return len(d.idle) }),
	}
}

// visitor is a connection that is counted until it is closed, also when the server has let it go (WebSocket).
type visitor struct {
	*net.TCPConn
	place string
	left  func()
}

// Close closes the connection and counts it out.
func (v *visitor) Close() error {
	v.left()
	return v.TCPConn.Close()
}

// Accept gives the next connection that may come in.
func (d *door) Accept() (net.Conn, error) {
	for {
		c, err := d.Listener.Accept()
		if err != nil {
			return nil, err
		}
		tcp, ok := c.(*net.TCPConn)
		if !ok {
			return c, nil
		}
		v := &visitor{TCPConn: tcp, place: d.placeOf(tcp.RemoteAddr())}
		v.left = sync.OnceFunc(func() { d.leave(v.place) })
		if d.enter(v.place) {
			return v, nil
		}
		d.ousted.WithLabelValues(noRoom).Inc()
		_ = tcp.SetLinger(0) // no state is kept for whom there is no room
		_ = tcp.Close()
	}
}

// placeOf is whom a connection counts for; "" for a trusted proxy, whose many clients are not one.
func (d *door) placeOf(a net.Addr) string {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return ""
	}
	addr := tcp.AddrPort().Addr().Unmap().WithZone("")
	for _, p := range d.trusted {
		if p.Contains(addr) {
			return ""
		}
	}
	return limit.Place(addr)
}

// enter counts one more connection of a place, and closes a quiet one where there are too many; false: there is no room.
func (d *door) enter(place string) bool {
	d.mu.Lock()
	var leaving net.Conn
	ok := true
	switch {
	case place != "" && d.open[place] >= d.place:
		leaving = d.oldest(d.places[place])
		ok = leaving != nil
	case d.total >= d.most:
		leaving = d.oldest(d.order)
		ok = leaving != nil
	}
	if ok {
		d.open[place]++
		d.total++
	}
	d.mu.Unlock()
	d.oust(leaving)
	return ok
}

func (d *door) leave(place string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.total--
	if d.open[place]--; d.open[place] <= 0 {
		delete(d.open, place)
	}
}

// oldest takes the connection that has been quiet for the longest out of the lists. d.mu is held.
func (d *door) oldest(l *queue.List) net.Conn {
	if l == nil || l.Len() == 0 {
		return nil
	}
	c := l.Front().Value.(*entry).conn
	d.stir(c)
	return c
}

// stir takes a connection off the quiet ones. d.mu is held.
func (d *door) stir(c net.Conn) {
	e, ok := d.idle[c]
	if !ok {
		return
	}
	delete(d.idle, c)
	place := d.order.Remove(e).(*entry).place
	d.places[place].Remove(d.inside[e])
	delete(d.inside, e)
	if d.places[place].Len() == 0 {
		delete(d.places, place)
	}
}

// note is the http.Server's ConnState hook.
func (d *door) note(c net.Conn, s http.ConnState) {
	v := visitorOf(c)
	if v == nil {
		return
	}
	d.mu.Lock()
	d.stir(c)
	var leaving net.Conn
	if s == http.StateNew || s == http.StateIdle {
		e := &entry{c, v.place}
		d.idle[c] = d.order.PushBack(e)
		if d.places[v.place] == nil {
			d.places[v.place] = queue.New()
		}
		d.inside[d.idle[c]] = d.places[v.place].PushBack(e)
		if v.place != "" && d.places[v.place].Len() > d.quiet {
			leaving = d.oldest(d.places[v.place])
		}
	}
	d.mu.Unlock()
	d.oust(leaving)
}

// oust closes a quiet connection; nil: there is none to.
func (d *door) oust(c net.Conn) {
	if c != nil {
		d.ousted.WithLabelValues(madeRoom).Inc()
		_ = c.Close()
	}
}

func visitorOf(c net.Conn) *visitor {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	v, _ := c.(*visitor)
	return v
}
