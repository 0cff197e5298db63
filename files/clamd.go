package files

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// Clamd asks ClamAV's daemon by its command INSTREAM (clamd(8)).
type Clamd struct {
	Addr string // host:port, or the path of its UNIX socket
}

const (
	clamdChunk   = 64 << 10
	clamdTime    = 10 * time.Minute // a whole file
	clamdStep    = 30 * time.Second // one write
	clamdVerdict = 2 * time.Minute  // after the last byte
)

// Scan sends the bytes and reads the verdict. A daemon that can't say is an error, also one that finds the file too large.
func (c *Clamd) Scan(ctx context.Context, r io.Reader) (finding string, err error) {
	ctx, cancel := context.WithTimeout(ctx, clamdTime)
	defer cancel()
	dialer := net.Dialer{Timeout: 10 * time.Second}
	network := "tcp"
	if strings.HasPrefix(c.Addr, "/") {
		network = "unix"
	}
	conn, err := dialer.DialContext(ctx, network, c.Addr)
	if err != nil {
		return "", fmt.Errorf("clamd: %w", err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	// The form with z: command and answer end with a zero byte.
	failed := clamdSend(conn, r)
	if errors.Is(failed, errUnread) {
		return "", failed
	}
	// A daemon that has heard enough says so and closes: its answer tells more than our broken pipe.
	_ = conn.SetReadDeadline(time.Now().Add(clamdVerdict))
	answer, err := bufio.NewReader(io.LimitReader(conn, 4<<10)).ReadString(0)
	if err != nil {
		return "", fmt.Errorf("clamd: %w", errors.Join(failed, err))
	}
	return clamdAnswer(strings.TrimSuffix(answer, "\x00"))
}

// errUnread says that the file itself can't be read.
var errUnread = errors.New("file can't be read")

// clamdSend writes chunks, each after its length in four bytes, and an empty one.
func clamdSend(conn net.Conn, r io.Reader) error {
	write := func(b []byte) error {
		_ = conn.SetWriteDeadline(time.Now().Add(clamdStep))
		_, err := conn.Write(b)
		return err
	}
	if err := write([]byte("zINSTREAM\x00")); err != nil {
		return err
	}
	buf := make([]byte, 4+clamdChunk)
	for {
		n, err := io.ReadFull(r, buf[4:])
		if n > 0 {
			binary.BigEndian.PutUint32(buf, uint32(n)) //nolint:gosec // at most clamdChunk
			if err := write(buf[:4+n]); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return write(make([]byte, 4))
		}
		if err != nil {
			return fmt.Errorf("%w: %w", errUnread, err)
		}
	}
}

// clamdAnswer reads "stream: OK", "stream: NAME FOUND" or "… ERROR".
func clamdAnswer(s string) (finding string, err error) {
	s = strings.TrimSpace(s)
	verdict := strings.TrimSpace(strings.TrimPrefix(s, "stream:"))
	if verdict == "OK" {
		return "", nil
	}
	if name, ok := strings.CutSuffix(verdict, " FOUND"); ok && name != "" {
		return name, nil
	}
	return "", fmt.Errorf("clamd: answer %.200q", s)
}
