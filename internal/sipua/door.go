package sipua

import (
	"crypto/tls"
	"net"
	"slices"
	"sync"
	"time"

	"latchkey/internal/quiet"
)

// Limits of connections that others open; slow ones and many must not hold a place (F67).
const (
	messageTime = 20 * time.Second // from the first byte of a message to its last; also from the connection to its first message
	idleTime    = 30 * time.Minute // between messages
	maxFresh    = 1024             // connections without a message so far; the oldest makes room
	maxConns    = 8192             // connections; what comes then is closed
)

// places are the connections that others opened, those in a handshake included. Its zero value is ready.
type places struct {
	mu    sync.Mutex
	fresh []*place // without a message so far, oldest first
	open  int
}

// door is a listener for streams that bounds what strangers can hold.
type door struct {
	net.Listener
	*places
}

// Accept gives the next connection that finds a place.
func (d *door) Accept() (net.Conn, error) {
	for {
		c, err := d.Listener.Accept()
		if err != nil {
			return nil, err
		}
		p := &place{Conn: quiet.Conn(c), places: d.places}
		d.mu.Lock()
		full := d.open >= maxConns
		var oldest *place
		if !full {
			d.open++
			if d.fresh = append(d.fresh, p); len(d.fresh) > maxFresh {
				oldest = d.fresh[0]
			}
		}
		d.mu.Unlock()
		if full {
			_ = c.Close()
			continue
		}
		if oldest != nil {
			_ = oldest.Close()
		}
		return p, nil
	}
}

// place is a connection that counts until it is closed.
type place struct {
	net.Conn
	places *places
	once   sync.Once
}

// Close gives the place back.
func (p *place) Close() error {
	p.once.Do(func() { p.proven(true) })
	return p.Conn.Close()
}

// proven takes a connection out of the fresh ones; gone also out of those that are open.
func (p *place) proven(gone bool) {
	p.places.mu.Lock()
	defer p.places.mu.Unlock()
	if gone {
		p.places.open--
	}
	if i := slices.Index(p.places.fresh, p); i >= 0 {
		p.places.fresh = slices.Delete(p.places.fresh, i, i+1)
	}
}

// placeOf is the place of a connection that came through a door, secured or not; else nil.
func placeOf(c net.Conn) *place {
	if secured, ok := c.(*tls.Conn); ok {
		c = secured.NetConn()
	}
	p, _ := c.(*place)
	return p
}
