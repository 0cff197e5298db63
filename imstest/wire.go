package imstest

import (
	"bufio"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
)

// Wire brings SIP as it is written, message by message, to a test that looks at each octet and answers with text of its own. Its fields are set
// before it reads; nil: there is no such port.
type Wire struct {
	UDP  net.PacketConn
	TCP  net.Listener
	Take func(Writing) // is called by the readers, of whom each connection has one

	mu      sync.Mutex
	conns   []net.Conn
	running sync.WaitGroup
}

// Writing is a message on the wire. Answer writes to where it came from.
type Writing struct {
	Network, From, Text string
	Answer              func(string)
}

// ListenWire opens a UDP and a TCP port with one number.
func ListenWire(take func(Writing)) (*Wire, error) {
	w := &Wire{Take: take}
	var err error
	for range 20 { // a free port must be free for both
		if w.UDP, err = net.ListenPacket("udp", "127.0.0.1:0"); err != nil {
			return nil, err
		}
		if w.TCP, err = net.Listen("tcp", w.UDP.LocalAddr().String()); err == nil {
			return w, nil
		}
		w.UDP.Close()
	}
	return nil, err
}

// Read begins to read the ports; Close ends that.
func (w *Wire) Read() {
	if w.UDP != nil {
		w.running.Go(func() { // ends when the socket is closed
			buf := make([]byte, 65535)
			for {
				n, from, err := w.UDP.ReadFrom(buf)
				if err != nil {
					return
				}
				w.Take(Writing{"udp", from.String(), string(buf[:n]), func(s string) { _, _ = w.UDP.WriteTo([]byte(s), from) }})
			}
		})
	}
	if w.TCP != nil {
		w.running.Go(func() { // ends when the listener is closed
			for {
				conn, err := w.TCP.Accept()
				if err != nil {
					return
				}
				w.Add(conn)
			}
		})
	}
}

// Add reads a connection, too, until it is closed.
func (w *Wire) Add(conn net.Conn) {
	w.mu.Lock()
	w.conns = append(w.conns, conn)
	w.mu.Unlock()
	w.running.Go(func() {
		r := bufio.NewReader(conn)
		for {
			var head strings.Builder
			length := 0
			for !strings.HasSuffix(head.String(), "\r\n\r\n") {
				line, err := r.ReadString('\n')
				if err != nil {
					return
				}
				head.WriteString(line)
				if v, found := strings.CutPrefix(line, "Content-Length: "); found {
					length, _ = strconv.Atoi(strings.TrimSpace(v))
				}
			}
			body := make([]byte, length)
			if _, err := io.ReadFull(r, body); err != nil {
				return
			}
			w.Take(Writing{"tcp", conn.RemoteAddr().String(), head.String() + string(body), func(s string) { _, _ = conn.Write([]byte(s)) }})
		}
	})
}

// HangUp closes the connections.
func (w *Wire) HangUp() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.conns {
		c.Close()
	}
}

// Close closes all, and waits for the readers.
func (w *Wire) Close() {
	if w.UDP != nil {
		w.UDP.Close()
	}
	if w.TCP != nil {
		w.TCP.Close()
	}
	w.HangUp()
	w.running.Wait()
}

// Go runs f beside the readers; Close waits for it, too.
func (w *Wire) Go(f func()) { w.running.Go(f) }

// Wait waits for the readers, as long as connections live.
func (w *Wire) Wait() { w.running.Wait() }
