package guestclient

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"
)

// Opcodes of frames (RFC 6455 §5.2).
const (
	opContinuation = 0
	opText         = 1
	opBinary       = 2
	opClose        = 8
	opPing         = 9
	opPong         = 10
)

var errFrame = errors.New("events: a frame of the WebSocket is wrong")

// socket follows events over a WebSocket until it ends.
func (c *Client) socket(ctx context.Context, after int64, open func(), take func(Event) bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	req, err := c.request(ctx, http.MethodGet, eventsPath+"?after="+strconv.FormatInt(after, 10), nil)
	if err != nil {
		return err
	}
	var nonce [16]byte
	_, _ = rand.Read(nonce[:]) // never fails
	key := base64.StdEncoding.EncodeToString(nonce[:])
	for name, value := range map[string]string{"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": key} {
		req.Header.Set(name, value)
	}
	watchdog := time.AfterFunc(c.quiet, cancel) // the gateway pings
	defer watchdog.Stop()
	res, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	conn, ok := res.Body.(io.ReadWriteCloser)
	if res.StatusCode != http.StatusSwitchingProtocols || !ok {
		return readProblem(res)
	}
	// RFC 6455 §4.1: the answer proves that the other side has read this handshake.
	if sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")); res.Header.Get("Sec-WebSocket-Accept") != base64.StdEncoding.EncodeToString(sum[:]) {
		return errFrame
	}
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })() // a read on the connection ends with ctx
	open()
	r := &frameReader{r: bufio.NewReader(&awake{conn, func() { watchdog.Reset(c.quiet) }}), w: conn}
	for {
		data, err := r.next()
		if err != nil {
			return err
		}
		var e Event
		if json.Unmarshal(data, &e) != nil {
			continue // not for us: a later gateway may say more
		}
		if !take(e) {
			_ = writeFrame(conn, opClose, binary.BigEndian.AppendUint16(nil, 1000))
			return nil
		}
	}
}

// frameReader reads messages and answers pings and the close.
type frameReader struct {
	r *bufio.Reader
	w io.Writer
}

// next is the next message, joined of its fragments (RFC 6455 §5.4).
func (f *frameReader) next() ([]byte, error) {
	var message []byte
	begun := false
	for {
		fin, op, payload, err := f.frame(maxEvent - len(message))
		if err != nil {
			return nil, err
		}
		switch op {
		case opPing:
			if err := writeFrame(f.w, opPong, payload); err != nil {
				return nil, err
			}
		case opPong:
		case opClose:
			_ = writeFrame(f.w, opClose, payload[:min(2, len(payload))])
			return nil, io.EOF
		case opText, opBinary, opContinuation:
			if begun != (op == opContinuation) {
				return nil, fmt.Errorf("%w: fragments are mixed", errFrame)
			}
			message, begun = append(message, payload...), true
			if fin {
				return message, nil
			}
		}
	}
}

// frame reads one frame (RFC 6455 §5.2).
func (f *frameReader) frame(limit int) (fin bool, op byte, payload []byte, err error) {
	var head [8]byte
	if _, err := io.ReadFull(f.r, head[:2]); err != nil {
		return false, 0, nil, err
	}
	fin, op = head[0]&0x80 != 0, head[0]&0x0f
	length := uint64(head[1] & 0x7f)
	switch {
	case head[0]&0x70 != 0, op > opBinary && op < opClose, op > opPong:
		return false, 0, nil, fmt.Errorf("%w: %#x", errFrame, head[0])
	case head[1]&0x80 != 0: // §5.1: a server does not mask
		return false, 0, nil, fmt.Errorf("%w: it is masked", errFrame)
	case op >= opClose && (length > 125 || !fin):
		return false, 0, nil, fmt.Errorf("%w: a long control frame", errFrame)
	case length == 126:
		_, err = io.ReadFull(f.r, head[:2])
		length = uint64(binary.BigEndian.Uint16(head[:2]))
	case length == 127:
		_, err = io.ReadFull(f.r, head[:8])
		length = binary.BigEndian.Uint64(head[:8])
	}
	if err != nil {
		return false, 0, nil, err
	}
	if length > uint64(max(limit, 125)) {
		return false, 0, nil, errEventTooLong
	}
	payload = make([]byte, length)
	_, err = io.ReadFull(f.r, payload)
	return fin, op, payload, err
}

// writeFrame writes a control frame. A client masks (RFC 6455 §5.3).
func writeFrame(w io.Writer, op byte, payload []byte) error {
	var mask [4]byte
	_, _ = rand.Read(mask[:]) // never fails
	frame := append([]byte{0x80 | op, 0x80 | byte(len(payload))}, mask[:]...)
	for i, b := range payload {
		frame = append(frame, b^mask[i%4])
	}
	_, err := w.Write(frame)
	return err
}
