package bench

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

// The peers of an anchor or a relay: plain MSRP on loopback, with nothing of the product's.

// last is the transaction of a bulk message's last chunk.
const last = "LASTLAST"

// frame is one request or response that stands whole in a buffer.
type frame struct {
	tid, what, to, from []byte
	body                bool
}

// cut finds the first frame of data, and its size; 0: it is not whole.
func cut(data []byte) (f frame, n int) {
	rest := data
	line := func() (l []byte) {
		if i := bytes.Index(rest, []byte("\r\n")); i >= 0 {
			l, rest = rest[:i], rest[i+2:]
		}
		return l
	}
	start, ok := bytes.CutPrefix(line(), []byte("MSRP "))
	if !ok {
		return f, 0
	}
	f.tid, f.what, _ = bytes.Cut(start, []byte(" "))
	f.to, f.from = bytes.TrimPrefix(line(), []byte("To-Path: ")), bytes.TrimPrefix(line(), []byte("From-Path: "))
	if len(f.from) == 0 {
		return f, 0
	}
	i := bytes.Index(rest, append([]byte("-------"), f.tid...))
	if i < 0 || len(rest) < i+7+len(f.tid)+3 {
		return f, 0
	}
	f.body = bytes.Contains(rest[:min(i, 400)], []byte("\r\nContent-Type: "))
	return f, len(data) - len(rest) + i + 7 + len(f.tid) + 3
}

// errDone ends each without an error.
var errDone = errors.New("done")

// each calls do for every frame of a connection, and written after those that one read brought. It ends with the connection.
func each(nc net.Conn, size int, do func(frame) error, written func() error) error {
	buf, r, w := make([]byte, size), 0, 0
	for {
		if r > 0 {
			w = copy(buf, buf[r:w])
			r = 0
		}
		if w == len(buf) {
			return errors.New("a frame of more than the buffer")
		}
		n, err := nc.Read(buf[w:])
		if err != nil {
			return err
		}
		w += n
		for {
			f, n := cut(buf[r:w])
			if n == 0 {
				break
			}
			if err := do(f); err == errDone {
				return nil
			} else if err != nil {
				return err
			}
			r += n
		}
		if err := written(); err == errDone {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// answer is the 200 to a request, along the whole path that it took.
func answer(b []byte, f frame) []byte {
	return fmt.Appendf(b, "MSRP %s 200 OK\r\nTo-Path: %s\r\nFrom-Path: %s\r\n-------%s$\r\n", f.tid, f.from, f.to, f.tid)
}

var text = strings.Repeat("two hundred octets. ", 10)

// send is a SEND of one text.
func send(b []byte, n int, to, from []byte) []byte {
	return fmt.Appendf(b, "MSRP t%09d SEND\r\nTo-Path: %s\r\nFrom-Path: %s\r\nMessage-ID: m%09d\r\nByte-Range: 1-%d/%d\r\nContent-Type: text/plain\r\n\r\n%s\r\n-------t%09d$\r\n",
		n, to, from, n, len(text), len(text), text, n)
}

// answerTexts answers each text with a 200, and a text back.
func answerTexts(nc net.Conn) {
	defer nc.Close()
	var out []byte
	n := 0
	_ = each(nc, 1<<20, func(f frame) error {
		if string(f.what) != "SEND" {
			return nil
		}
		out = answer(out, f)
		if f.body {
			n++
			out = send(out, n, f.from, f.to)
		}
		return nil
	}, func() error {
		_, err := nc.Write(out)
		out = out[:0]
		return err
	})
}

// texts exchanges Count texts on each of the sessions, Window of them under way: each is answered with a 200 and a text,
// which is answered in turn.
func texts(o order) (report, error) {
	var r report
	conns := make([]net.Conn, len(o.Addrs))
	for i, addr := range o.Addrs {
		nc, err := net.Dial("tcp", addr)
		if err != nil {
			return r, err
		}
		defer nc.Close()
		_ = nc.SetDeadline(time.Now().Add(2 * time.Minute))
		conns[i] = nc
	}
	done := make(chan error, len(conns))
	begun := time.Now()
	for i, nc := range conns {
		from := o.From[i]
		if o.Paths {
			from = fmt.Sprintf("msrp://%s/s%d;tcp", nc.LocalAddr(), i)
		}
		go func() { done <- exchange(nc, o.Count, min(o.Window, o.Count), []byte(o.To[i]), []byte(from)) }()
	}
	for range conns {
		if err := <-done; err != nil {
			return r, err
		}
	}
	r.Seconds, r.Messages = time.Since(begun).Seconds(), 2*o.Count*len(conns)
	return r, nil
}

func exchange(nc net.Conn, count, window int, to, from []byte) error {
	var out []byte
	sent, got, oks := 0, 0, 0
	for sent < window {
		sent++
		out = send(out, sent, to, from)
	}
	if _, err := nc.Write(out); err != nil {
		return err
	}
	out = out[:0]
	return each(nc, 64<<10, func(f frame) error {
		switch {
		case string(f.what) == "200 OK":
			oks++
		case string(f.what) == "SEND" && f.body:
			got++
			out = answer(out, f)
			if sent < count {
				sent++
				out = send(out, sent, to, from)
			}
		default:
			return fmt.Errorf("a text was answered with %q", f.what)
		}
		return nil
	}, func() error {
		if _, err := nc.Write(out); err != nil {
			return err
		}
		out = out[:0]
		if got == count && oks == count {
			return errDone
		}
		return nil
	})
}

// sink takes a bulk message. It answers a SEND that binds the connection, each chunk if it is to, and the last one.
func sink(nc net.Conn, answers bool) {
	defer nc.Close()
	if answers {
		var out []byte
		_ = each(nc, 1<<20, func(f frame) error {
			out = answer(out, f)
			return nil
		}, func() error {
			_, err := nc.Write(out)
			out = out[:0]
			return err
		})
		return
	}
	buf, w := make([]byte, 512<<10), 0
	end := []byte("-------" + last + "$\r\n")
	var to, from []byte // of whoever is answered
	for {
		n, err := nc.Read(buf[w:])
		if err != nil {
			return
		}
		w += n
		for from == nil && w > 0 {
			f, size := cut(buf[:w])
			if size == 0 && w < 1024 {
				break // its head isn't there yet
			}
			if size > 0 && !f.body {
				_, _ = nc.Write(answer(nil, f))
				w = copy(buf, buf[size:w])
				continue
			}
			from, to = bytes.Clone(f.from), bytes.Clone(f.to)
		}
		if bytes.HasSuffix(buf[:w], end) {
			_, _ = nc.Write(answer(nil, frame{tid: []byte(last), from: from, to: to}))
			from = nil
			w = 0
			continue
		}
		if keep := min(w, len(end)); from != nil { // all but what may be the beginning of the end is done with
			copy(buf, buf[w-keep:w])
			w = keep
		}
	}
}

// bulk sends one message of Octets in chunks and waits for the 200 to the last one.
func bulk(o order) (report, error) {
	var r report
	nc, err := net.Dial("tcp", o.Addrs[0])
	if err != nil {
		return r, err
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(5 * time.Minute))
	chunk := int64(o.Chunk)
	if chunk == 0 {
		chunk = o.Octets
	}
	chunks := int(o.Octets / chunk)
	end := make(chan error, 1)
	go func() { // ends with the last response, or with the connection
		buf, w, answered := make([]byte, 64<<10), 0, 0
		for {
			n, err := nc.Read(buf[w:])
			if err != nil {
				end <- err
				return
			}
			answered += bytes.Count(buf[w:w+n], []byte("$"))
			w += n
			if bytes.HasSuffix(buf[:w], []byte(last+"$\r\n")) {
				if o.Answers && answered != chunks {
					err = fmt.Errorf("%d answers to %d chunks", answered, chunks)
				}
				end <- err
				return
			}
			if w > len(buf)/2 {
				w = copy(buf, buf[w-64:w])
			}
		}
	}()
	begun := time.Now()
	if o.Chunk == 0 {
		err = oneChunk(nc, o)
	} else {
		err = manyChunks(nc, o, chunks)
	}
	if err == nil {
		err = <-end
	}
	r.Seconds, r.Messages = time.Since(begun).Seconds(), chunks
	return r, err
}

func chunkHead(o order, tid string, start int64) []byte {
	failure := "no"
	if o.Answers {
		failure = "yes"
	}
	stop := "*"
	if o.Chunk > 0 && o.Chunk <= 2048 {
		stop = fmt.Sprintf("%012d", start+int64(o.Chunk)-1)
	}
	return fmt.Appendf(nil, "MSRP %s SEND\r\nTo-Path: %s\r\nFrom-Path: %s\r\nMessage-ID: bulkmessage\r\nFailure-Report: %s\r\nByte-Range: %012d-%s/%d\r\nContent-Type: application/octet-stream\r\n\r\n",
		tid, o.To[0], o.From[0], failure, start, stop, o.Octets)
}

// manyChunks writes some chunks at a time, prepared before, with the positions of each filled in.
func manyChunks(nc net.Conn, o order, chunks int) error {
	body := bytes.Repeat([]byte("0123456789abcde\n"), o.Chunk/16+1)[:o.Chunk]
	one := func(tid string, flag byte, start int64) []byte {
		b := append(chunkHead(o, tid, start), body...)
		return fmt.Appendf(b, "\r\n-------%s%c\r\n", tid, flag)
	}
	group := max(1, (512<<10)/(o.Chunk+300))
	size := len(one("bulk0000", '+', 1))
	at := bytes.Index(one("bulk0000", '+', 1), []byte("Byte-Range: ")) + len("Byte-Range: ")
	var block []byte
	for i := range group {
		block = append(block, one(fmt.Sprintf("bulk%04d", i), '+', 1)...)
	}
	digits := func(b []byte, n int64) {
		for i := 11; i >= 0; i-- {
			b[i] = byte('0' + n%10)
			n /= 10
		}
	}
	start := int64(1)
	for left := chunks - 1; left > 0; {
		n := min(group, left)
		for i := range n {
			place := block[i*size+at:]
			digits(place, start)
			if place[13] != '*' {
				digits(place[13:], start+int64(o.Chunk)-1)
			}
			start += int64(o.Chunk)
		}
		if _, err := nc.Write(block[:n*size]); err != nil {
			return err
		}
		left -= n
	}
	_, err := nc.Write(one(last, '$', start))
	return err
}

func oneChunk(nc net.Conn, o order) error {
	if _, err := nc.Write(chunkHead(o, last, 1)); err != nil {
		return err
	}
	block := bytes.Repeat([]byte("0123456789abcde\n"), 16<<10)
	for left := o.Octets; left > 0; {
		n, err := nc.Write(block[:min(left, int64(len(block)))])
		if err != nil {
			return err
		}
		left -= int64(n)
	}
	_, err := nc.Write([]byte("\r\n-------" + last + "$\r\n"))
	return err
}

// bind binds the sessions whose legs' URIs are given, A and B in turns, on connections of their own, or, where Count is
// less, on that many; then each session passes a text both ways and falls idle. The connections stay.
func (w *worker) bind(o order) (report, error) {
	conns := min(o.Count, len(o.To))
	type leg struct {
		to   string
		name string
	}
	legs := make([][]leg, conns)
	for i, to := range o.To { // A on the even connections, B on the odd ones
		side, session := i%2, i/2
		c := 2*(session%(conns/2)) + side
		legs[c] = append(legs[c], leg{to, [2]string{"s", "r"}[side] + strconv.Itoa(session)})
	}
	for i := range legs {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(2+i%200))}}
		nc, err := d.Dial("tcp", o.Addrs[0])
		if err != nil {
			return report{}, fmt.Errorf("connection %d: %w", i, err)
		}
		_ = nc.SetDeadline(time.Now().Add(2 * time.Minute))
		w.idle = append(w.idle, nc)
		for _, l := range legs[i] {
			from := "msrp://" + peerAddr + "/" + l.name + ";tcp"
			if _, err := fmt.Fprintf(nc, "MSRP bind%s SEND\r\nTo-Path: %s\r\nFrom-Path: %s\r\nMessage-ID: bind%s\r\nByte-Range: 1-0/0\r\n-------bind%s$\r\n", l.name, l.to, from, l.name, l.name); err != nil {
				return report{}, err
			}
			if err := want(nc, " 200 OK\r\n"); err != nil {
				return report{}, err
			}
		}
	}
	for side := range 2 {
		for i := side; i < conns; i += 2 {
			a, b := w.idle[i], w.idle[i^1]
			for _, l := range legs[i] {
				from := "msrp://" + peerAddr + "/" + l.name + ";tcp"
				if _, err := a.Write(send(nil, 1, []byte(l.to), []byte(from))); err != nil {
					return report{}, err
				}
				var f frame
				if err := one(b, func(got frame) { f = got }); err != nil {
					return report{}, err
				}
				if _, err := b.Write(answer(nil, f)); err != nil {
					return report{}, err
				}
				if err := want(a, " 200 OK\r\n"); err != nil {
					return report{}, err
				}
			}
		}
	}
	return report{Messages: len(o.To)}, nil
}

// one reads a frame that comes alone.
func one(nc net.Conn, do func(frame)) error {
	return each(nc, 4096, func(f frame) error {
		do(frame{bytes.Clone(f.tid), bytes.Clone(f.what), bytes.Clone(f.to), bytes.Clone(f.from), f.body})
		return errDone
	}, func() error { return nil })
}

func want(nc net.Conn, what string) error {
	var got string
	err := one(nc, func(f frame) { got = " " + string(f.what) + "\r\n" })
	if err == nil && got != what {
		err = fmt.Errorf("answered %q", got)
	}
	return err
}
