package imstest

import (
	"bytes"
	"io"
	"net"
	"sync"
	"time"
)

// HoseManner is how a Hose lets bytes through. The zero value lets all through.
type HoseManner struct {
	PerByte  time.Duration // what the client sends takes so long
	CutAfter int           // both ends are closed after so many bytes of the client's; 0: never
	Withhold string        // what the server says from there on is kept back; "": nothing
}

// Hose stands before a server and does to connections what networks do. A manner holds for those that are made after it is set.
type Hose struct {
	ln net.Listener
	to string

	mu       sync.Mutex
	manner   HoseManner
	conns    map[net.Conn]bool
	cuts     int
	withheld int
	opened   int
	running  sync.WaitGroup
}

// NewHose starts one before the server at host:port.
func NewHose(to string) (*Hose, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	h := &Hose{ln: ln, to: to, conns: map[net.Conn]bool{}}
	h.running.Go(func() { // ends with Close
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			h.running.Go(func() { h.pass(c) })
		}
	})
	return h, nil
}

// Addr is where it listens.
func (h *Hose) Addr() string { return h.ln.Addr().String() }

// Behave sets the manner for the connections to come, and cuts those that there are.
func (h *Hose) Behave(m HoseManner) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.manner = m
	for c := range h.conns {
		_ = c.Close()
	}
}

// Counts are the connections that were made, were cut after CutAfter, and had something withheld.
func (h *Hose) Counts() (opened, cut, withheld int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.opened, h.cuts, h.withheld
}

// Close ends it with all connections.
func (h *Hose) Close() {
	_ = h.ln.Close()
	h.Behave(HoseManner{})
	h.running.Wait()
}

func (h *Hose) hold(c net.Conn) HoseManner {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.conns[c] = true
	return h.manner
}

func (h *Hose) drop(c net.Conn) {
	_ = c.Close()
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.conns, c)
}

func (h *Hose) note(n *int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	*n++
}

func (h *Hose) pass(client net.Conn) {
	m := h.hold(client)
	defer h.drop(client)
	h.note(&h.opened)
	server, err := net.Dial("tcp", h.to)
	if err != nil {
		return
	}
	h.hold(server)
	defer h.drop(server)
	var up sync.WaitGroup
	up.Go(func() { // ends with either connection
		defer func() { _ = server.Close() }()
		h.send(server, client, m)
	})
	h.answer(client, server, m)
	_ = client.Close()
	up.Wait()
}

// send takes what the client says to the server.
func (h *Hose) send(server io.Writer, client io.Reader, m HoseManner) {
	buf := make([]byte, 4096)
	for left := m.CutAfter; ; {
		part := buf
		if m.PerByte > 0 {
			part = buf[:1]
		}
		n, err := client.Read(part)
		if m.CutAfter > 0 && n >= left {
			_, _ = server.Write(part[:left])
			h.note(&h.cuts)
			return
		}
		left -= n
		if _, werr := server.Write(part[:n]); err != nil || werr != nil {
			return
		}
		time.Sleep(m.PerByte)
	}
}

// answer takes what the server says to the client.
func (h *Hose) answer(client io.Writer, server io.Reader, m HoseManner) {
	buf := make([]byte, 4096)
	for {
		n, err := server.Read(buf)
		if m.Withhold != "" && bytes.Contains(buf[:n], []byte(m.Withhold)) {
			h.note(&h.withheld)
			_, _ = io.Copy(io.Discard, server)
			return
		}
		if _, werr := client.Write(buf[:n]); err != nil || werr != nil {
			return
		}
	}
}
