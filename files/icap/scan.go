package icap

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// errUnread says that the file itself can't be read.
var errUnread = errors.New("file can't be read")

// chunkSize is how long chunks of files are, in octets.
const chunkSize = 64 << 10

// method is how the service is asked; "": it can't be.
func (s Service) method() string {
	for _, m := range []string{"RESPMOD", "REQMOD"} {
		if slices.Contains(s.Methods, m) {
			return m
		}
	}
	return ""
}

// Scan has a file looked at. finding is "" where the service lets it pass as it is, and else what the service calls it, or what it does with it. A
// service that can't say is an error.
func (c *Client) Scan(ctx context.Context, r io.Reader) (finding string, err error) {
	ctx, cancel := context.WithTimeout(ctx, scanTime)
	defer cancel()
	s, err := c.Options(ctx)
	if err != nil {
		return "", err
	}
	// What can be read again may go on a connection that the service may have closed by now.
	size, again := int64(-1), (func() bool)(nil)
	if f, ok := r.(io.Seeker); ok {
		at, err := f.Seek(0, io.SeekCurrent)
		if err == nil {
			var end int64
			if end, err = f.Seek(0, io.SeekEnd); err == nil {
				_, err = f.Seek(at, io.SeekStart)
			}
			size = end - at
		}
		if err != nil {
			return "", fmt.Errorf("%w: %w", errUnread, err)
		}
		again = func() bool {
			_, err := f.Seek(at, io.SeekStart)
			return err == nil
		}
	}
	err = c.converse(ctx, again, func(k *conn) (whole bool, err error) {
		finding, whole, err = c.modify(k, s, r, size)
		return whole, err
	})
	if err != nil {
		c.forget() // it may have changed
		return "", fmt.Errorf("icap: %w", err)
	}
	return finding, nil
}

// head writes the request up to the body (RFC 3507 §4.8, §4.9). What is enclosed is made up, but for the length.
func (c *Client) head(s Service, size int64) string {
	length := ""
	if size >= 0 {
		length = fmt.Sprintf("Content-Length: %d\r\n", size)
	}
	enclosed, names := "", ""
	if s.method() == "RESPMOD" {
		request := "GET /file HTTP/1.1\r\nHost: files.invalid\r\n\r\n"
		enclosed = request + "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n" + length + "\r\n"
		names = fmt.Sprintf("req-hdr=0, res-hdr=%d, res-body=%d", len(request), len(enclosed))
	} else {
		enclosed = "PUT /file HTTP/1.1\r\nHost: files.invalid\r\nContent-Type: application/octet-stream\r\n" + length + "\r\n"
		names = fmt.Sprintf("req-hdr=0, req-body=%d", len(enclosed))
	}
	preview := ""
	if s.Preview >= 0 {
		preview = fmt.Sprintf("Preview: %d\r\n", s.Preview)
	}
	// RFC 3507 §4.6: by Allow the service needn't send back a whole file that it leaves as it is.
	return s.method() + " " + c.url.String() + " ICAP/1.0\r\nHost: " + c.url.Host + "\r\nUser-Agent: Latchkey\r\nAllow: 204\r\n" + preview +
		"Encapsulated: " + names + "\r\n\r\n" + enclosed
}

// modify sends a file and reads the verdict. whole says that another exchange may follow on the connection.
func (c *Client) modify(k *conn, s Service, r io.Reader, size int64) (finding string, whole bool, err error) {
	seed := maphash.MakeSeed()
	sent, got := newMeasure(seed), newMeasure(seed)
	body := bufio.NewReaderSize(io.TeeReader(r, sent), chunkSize+1) // what is peeked at is sent in the end
	request := []byte(c.head(s, size))
	if s.Preview >= 0 {
		first, err := body.Peek(s.Preview + 1)
		if err != nil && !errors.Is(err, io.EOF) {
			return "", false, fmt.Errorf("%w: %w", errUnread, err)
		}
		all := len(first) <= s.Preview
		first = first[:min(len(first), s.Preview)]
		request = appendChunk(request, first)
		if all {
			request = append(request, "0; ieof\r\n\r\n"...) // RFC 3507 §4.5: the preview was all
		} else {
			request = append(request, "0\r\n\r\n"...)
		}
		if _, err := k.Write(request); err != nil {
			return "", false, err
		}
		res, err := readResponse(k.in)
		if err == nil && res.code != 100 {
			err = res.copyTo(got)
		}
		switch {
		case err != nil:
			return "", false, err
		case res.code != 100:
			finding, sure, err := res.verdict()
			if !sure && err == nil && !(all && same(sent, got)) {
				finding = changed
			}
			return finding, !res.closes(), err
		case all:
			return "", false, malformed("100 where nothing is held back")
		}
		_, _ = body.Discard(len(first)) // was peeked at
		request = request[:0]
	}
	// A service may send back as it gets: who only wrote would wait for it for ever.
	written := make(chan error, 1)
	go func() { written <- sendBody(k, request, body) }() // ends with the file or the connection, and is waited for
	res, err := readResponse(k.in)
	if err == nil {
		err = res.copyTo(got)
	}
	if err != nil {
		_ = k.Close()
		if late := <-written; errors.Is(late, errUnread) {
			return "", false, late
		}
		return "", false, err
	}
	finding, sure, err := res.verdict()
	if sure || err != nil { // it needs no more of the file, where that still goes
		k.answered.Store(true)
		_ = k.SetWriteDeadline(time.Now().Add(afterAnswer))
	}
	late := <-written
	switch {
	case errors.Is(late, errUnread):
		return "", false, late
	case sure || err != nil:
	case late != nil:
		return "", false, late
	case !same(sent, got):
		finding = changed
	}
	return finding, late == nil && !res.closes(), err
}

// afterAnswer is how long the last bytes may take when their verdict is here.
const afterAnswer = time.Second

var errAnswered = errors.New("answered before the end")

// sendBody writes a file in chunks (RFC 3507 §4.3.1), behind what is to be said before.
func sendBody(k *conn, before []byte, body *bufio.Reader) error {
	data := make([]byte, chunkSize)
	for {
		n, err := io.ReadFull(body, data)
		end := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !end {
			_ = k.Close() // half a file must not look like one
			return fmt.Errorf("%w: %w", errUnread, err)
		}
		before = appendChunk(before, data[:n])
		if end {
			before = append(before, "0\r\n\r\n"...)
		}
		if _, err := k.Write(before); err != nil || end {
			return err
		}
		if k.answered.Load() {
			return errAnswered
		}
		before = before[:0]
	}
}

// appendChunk adds one chunk; none where it is empty, which would be the end.
func appendChunk(b, data []byte) []byte {
	if len(data) == 0 {
		return b
	}
	b = append(strconv.AppendInt(b, int64(len(data)), 16), "\r\n"...)
	return append(append(b, data...), "\r\n"...)
}

// measure tells whether two streams were the same, by a key that nobody else knows.
type measure struct {
	size int64
	sum  maphash.Hash
}

func newMeasure(seed maphash.Seed) *measure {
	m := &measure{}
	m.sum.SetSeed(seed)
	return m
}

func (m *measure) Write(b []byte) (int, error) {
	m.size += int64(len(b))
	return m.sum.Write(b)
}

func same(a, b *measure) bool { return a.size == b.size && a.sum.Sum64() == b.sum.Sum64() }

// changed is the finding in a file that comes back as another one.
const changed = "the scanner would change it"

// verdict reads what the answer says. Not sure: what came back may be the file as it was.
func (r *response) verdict() (finding string, sure bool, err error) {
	if found := r.threat(); found != "" {
		return found, true, nil
	}
	switch {
	case r.code == 204: // RFC 3507 §4.6: it stays as it is
		return "", true, nil
	case r.code != 200 && r.code != 201: // RFC 3507 §4.3.3
		return "", false, r.refusal()
	case r.status == 200, r.status == 0 && r.asked:
		return "", false, nil
	case r.status != 0:
		return fmt.Sprintf("the scanner would answer %d instead of it", r.status), true, nil
	}
	return "", false, malformed("it encloses neither a request nor a response")
}

// threat is what the fields in which scanners name their findings say (draft-stecher-icap-subid (unverified)); "": nothing.
func (r *response) threat() string {
	name := ""
	if v := r.header["x-infection-found"]; v != "" { // Type=0; Resolution=2; Threat=NAME;
		name = v
		for part := range strings.SplitSeq(v, ";") {
			if key, value, ok := strings.Cut(strings.TrimSpace(part), "="); ok && strings.EqualFold(key, "Threat") && value != "" {
				name = value
			}
		}
	}
	name = cmp.Or(name, r.header["x-virus-id"], r.header["x-violations-found"])
	if name == "" {
		return ""
	}
	name = strings.Map(func(c rune) rune {
		if unicode.IsPrint(c) {
			return c
		}
		return -1
	}, strings.ToValidUTF8(name, ""))
	return cmp.Or(name[:min(len(name), 200)], "unnamed")
}
