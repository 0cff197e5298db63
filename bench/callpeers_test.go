package bench

import (
	"bytes"
	"fmt"
	"net"
	"strconv"
	"time"
)

// field is the value of a header field, nil where there is none.
func field(m []byte, name string) []byte {
	i := bytes.Index(m, []byte("\r\n"+name+": "))
	if i < 0 {
		return nil
	}
	value, _, _ := bytes.Cut(m[i+len(name)+4:], []byte("\r\n"))
	return value
}

// socket is one of 127.0.0.1's.
func socket() (*net.UDPConn, error) {
	c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err == nil {
		_ = c.SetReadBuffer(8 << 20)
	}
	return c, err
}

const sdp = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=message 9 TCP/MSRP *\r\na=accept-types:message/cpim\r\na=path:msrp://127.0.0.1:9/abc;tcp\r\n"

// ring answers calls, as testdata/uas.xml does, for as many as come: it keeps nothing of them.
func (w *worker) ring() (report, error) {
	c, err := socket()
	if err != nil {
		return report{}, err
	}
	w.idle = append(w.idle, c)
	go func() { // ends when c is closed
		buf := make([]byte, 64<<10)
		for {
			n, from, err := c.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			m := buf[:n]
			head := func(line, tag string) []byte {
				var b bytes.Buffer
				b.WriteString(line)
				for _, name := range []string{"Via", "Record-Route", "From", "To", "Call-ID", "CSeq"} {
					if v := field(m, name); v != nil {
						fmt.Fprintf(&b, "\r\n%s: %s", name, v)
						if name == "To" {
							b.WriteString(tag)
						}
					}
				}
				fmt.Fprintf(&b, "\r\nContact: <sip:callee@%s>", c.LocalAddr())
				return b.Bytes()
			}
			send := func(b []byte) { _, _ = c.WriteToUDPAddrPort(b, from) }
			switch {
			case bytes.HasPrefix(m, []byte("INVITE ")):
				send(append(head("SIP/2.0 180 Ringing", ";tag=u"), "\r\nContent-Length: 0\r\n\r\n"...))
				send(fmt.Appendf(head("SIP/2.0 200 OK", ";tag=u"), "\r\nContent-Type: application/sdp\r\nContent-Length: %d\r\n\r\n%s", len(sdp), sdp))
			case bytes.HasPrefix(m, []byte("BYE ")):
				send(append(head("SIP/2.0 200 OK", ""), "\r\nContent-Length: 0\r\n\r\n"...))
			}
		}
	}()
	return report{Addrs: []string{c.LocalAddr().String()}}, nil
}

// call makes Count calls to an address, Window of them under way at a time, and hangs each up at once; "stand" leaves them, and
// "hangup" ends what it left. A call that gets no answer within 20 seconds is an error.
func (w *worker) call(o order) (report, error) {
	c, err := socket()
	if err != nil {
		return report{}, err
	}
	defer c.Close()
	server, err := net.ResolveUDPAddr("udp", o.Addrs[0])
	if err != nil {
		return report{}, err
	}
	begun, next, under, over := time.Now(), 0, 0, 0 // calls
	request := func(i int, line, cseq, branch string, to, more []byte) error {
		m := fmt.Appendf(nil, "%s SIP/2.0\r\nVia: SIP/2.0/UDP %s;branch=z9hG4bK%s%d\r\n%sFrom: <sip:caller@127.0.0.1>;tag=c%d\r\nTo: %s\r\nCall-ID: %d.%d@127.0.0.1\r\nCSeq: %s\r\nMax-Forwards: 70\r\n",
			line, c.LocalAddr(), branch, i, more, i, to, w.batch, i, cseq)
		if branch == "i" {
			m = fmt.Appendf(m, "Contact: <sip:caller@%s>\r\nSupported: 100rel, timer\r\nAllow: INVITE, ACK, CANCEL, BYE, PRACK, UPDATE\r\nP-Asserted-Identity: <sip:caller@cc.com>\r\nP-Charging-Vector: icid-value=%d\r\nContent-Type: application/sdp\r\nContent-Length: %d\r\n\r\n%s",
				c.LocalAddr(), i, len(sdp), sdp)
		} else {
			m = append(m, "Content-Length: 0\r\n\r\n"...)
		}
		_, err := c.WriteToUDP(m, server)
		return err
	}
	if o.Do != "hangup" {
		w.batch++
		w.standing = make([]standing, o.Count)
	}
	buf := make([]byte, 64<<10)
	for over < o.Count {
		for next < o.Count && under < o.Window {
			if o.Do == "hangup" {
				err = request(next, "BYE "+w.standing[next].contact, "2 BYE", "b", []byte(w.standing[next].to), []byte(w.standing[next].routes))
			} else {
				err = request(next, "INVITE sip:callee@"+o.Addrs[0], "1 INVITE", "i", []byte("<sip:callee@"+o.Addrs[0]+">"), nil)
			}
			if err != nil {
				return report{}, err
			}
			next, under = next+1, under+1
		}
		_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
		n, err := c.Read(buf)
		if err != nil {
			return report{}, fmt.Errorf("%d of %d calls are over: %w", over, o.Count, err)
		}
		m := buf[:n]
		if !bytes.HasPrefix(m, []byte("SIP/2.0 2")) {
			if !bytes.HasPrefix(m, []byte("SIP/2.0 1")) {
				return report{}, fmt.Errorf("a call got %.300s", m)
			}
			continue
		}
		_, after, _ := bytes.Cut(field(m, "Call-ID"), []byte("."))
		number, _, _ := bytes.Cut(after, []byte("@"))
		i, err := strconv.Atoi(string(number))
		if err != nil || i >= len(w.standing) {
			continue
		}
		if bytes.HasSuffix(field(m, "CSeq"), []byte("BYE")) {
			w.standing[i] = standing{}
			over, under = over+1, under-1
			continue
		}
		if w.standing[i].to != "" {
			continue // a repeat
		}
		contact := string(bytes.Trim(field(m, "Contact"), "<>"))
		s := standing{contact: contact, to: string(field(m, "To"))}
		if rr := field(m, "Record-Route"); rr != nil {
			s.routes = "Route: " + string(rr) + "\r\n"
		}
		w.standing[i] = s
		if err := request(i, "ACK "+contact, "1 ACK", "a", []byte(s.to), []byte(s.routes)); err != nil {
			return report{}, err
		}
		if o.Do == "stand" {
			over, under = over+1, under-1
			continue
		}
		if err := request(i, "BYE "+contact, "2 BYE", "b", []byte(s.to), []byte(s.routes)); err != nil {
			return report{}, err
		}
	}
	return report{Seconds: time.Since(begun).Seconds(), CPU: ownCPU()}, nil
}

// standing is what the caller keeps of a call.
type standing struct{ contact, to, routes string }
