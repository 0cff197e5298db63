package icap

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http/httputil"
	"strconv"
	"strings"
	"time"
)

// Limits of what a service may answer, in octets. Bodies have none: they stream by.
const (
	maxLine = 8 << 10
	maxHead = 64 << 10
)

var errMalformed = errors.New("answer can't be understood")

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errMalformed, fmt.Sprintf(format, args...))
}

// header are fields by their names in lower case, several of one name joined by commas.
type header map[string]string

// response is an answer of the service. Its body, where it has one, must be read to the end before the next answer.
type response struct {
	code   int
	reason string
	header header
	asked  bool      // it encloses an HTTP request
	status int       // of the HTTP response that it encloses; 0: none
	body   string    // req-body, res-body or opt-body; "": none
	in     io.Reader // the body's bytes
	raw    *bufio.Reader
}

// readResponse reads an answer up to its body: status line, header fields, and the HTTP header that is enclosed (RFC 3507 §4.3, §4.4).
func readResponse(in *bufio.Reader) (*response, error) {
	left := maxHead
	line, err := readLine(in, &left)
	if err != nil {
		return nil, err
	}
	res := &response{raw: in}
	version, rest, _ := strings.Cut(line, " ")
	code, reason, _ := strings.Cut(rest, " ")
	if res.code, err = strconv.Atoi(code); err != nil || !strings.HasPrefix(version, "ICAP/1.") || len(code) != 3 || res.code < 100 {
		return nil, malformed("it begins %.60q", line)
	}
	res.reason = strings.TrimSpace(reason)
	if res.header, err = readHeader(in, &left); err != nil {
		return nil, err
	}
	if res.code == 100 || res.code == 204 { // RFC 3507 §4.5, §4.6: nothing is enclosed
		return res, nil
	}
	return res, res.open(res.header["encapsulated"])
}

// open reads what Encapsulated (RFC 3507 §4.4.1) says to stand before the body.
func (r *response) open(encapsulated string) error {
	if encapsulated == "" {
		return nil // of errors, and of OPTIONS by servers that save words
	}
	at, section := 0, ""
	for part := range strings.SplitSeq(encapsulated, ",") {
		name, offset, _ := strings.Cut(strings.TrimSpace(part), "=")
		n, err := strconv.Atoi(strings.TrimSpace(offset))
		if err != nil || n < at || n > maxHead || section == "" && n != 0 || strings.HasSuffix(section, "-body") {
			return malformed("Encapsulated: %.80q", encapsulated)
		}
		if section != "" {
			head := make([]byte, n-at)
			if _, err := io.ReadFull(r.raw, head); err != nil {
				return unexpected(err)
			}
			r.asked = r.asked || section == "req-hdr"
			if section == "res-hdr" {
				if r.status, err = httpStatus(string(head)); err != nil {
					return err
				}
			}
		}
		at, section = n, strings.ToLower(strings.TrimSpace(name))
		switch section {
		case "req-hdr", "res-hdr", "req-body", "res-body", "opt-body", "null-body":
		default:
			return malformed("Encapsulated: %.80q", encapsulated)
		}
	}
	switch {
	case section == "null-body":
	case strings.HasSuffix(section, "-body"):
		r.body, r.in = section, httputil.NewChunkedReader(r.raw)
	default:
		return malformed("Encapsulated without a body: %.80q", encapsulated)
	}
	return nil
}

// httpStatus is the code in an HTTP response's header.
func httpStatus(head string) (int, error) {
	line, _, _ := strings.Cut(head, "\n")
	fields := strings.Fields(line)
	if len(fields) < 2 || !strings.HasPrefix(fields[0], "HTTP/") {
		return 0, malformed("the enclosed response begins %.60q", line)
	}
	code, err := strconv.Atoi(fields[1])
	if err != nil || code < 100 || code > 999 {
		return 0, malformed("the enclosed response begins %.60q", line)
	}
	return code, nil
}

// copyTo reads the body to its end, the trailer included (RFC 3507 §4.3.1: as chunks of HTTP/1.1).
func (r *response) copyTo(w io.Writer) error {
	if r.in == nil {
		return nil
	}
	if _, err := io.CopyBuffer(struct{ io.Writer }{w}, r.in, make([]byte, 32<<10)); err != nil {
		return unexpected(err)
	}
	left := maxHead
	_, err := readHeader(r.raw, &left)
	r.in = nil
	return err
}

func (r *response) discard() error { return r.copyTo(io.Discard) }

// closes reports whether nothing may follow on the connection.
func (r *response) closes() bool {
	return strings.Contains(strings.ToLower(r.header["connection"]), "close")
}

// refusal is an answer that is no verdict, in words for the operator.
func (r *response) refusal() error {
	hint := map[int]string{
		404: "there is no such service", 405: "the service does not know the method", 408: "the service waited for too long",
		500: "the service failed", 503: "the service is overloaded",
	}[r.code]
	if hint != "" {
		hint = " (" + hint + ")"
	}
	return fmt.Errorf("answer %d %.80s%s", r.code, r.reason, hint)
}

// readHeader reads fields up to the empty line. Values that go on in further lines, as those of X-Violations-Found do, are one.
func readHeader(in *bufio.Reader, left *int) (header, error) {
	h, last := header{}, ""
	for {
		line, err := readLine(in, left)
		switch {
		case err != nil:
			return nil, err
		case line == "":
			return h, nil
		case line[0] == ' ' || line[0] == '\t':
			if last == "" {
				return nil, malformed("a header that begins in its middle")
			}
			h[last] += " " + strings.TrimSpace(line)
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		name = strings.ToLower(strings.TrimSpace(name))
		if !ok || name == "" {
			return nil, malformed("header line %.60q", line)
		}
		if h[name] != "" {
			h[name] += ","
		}
		h[name] += strings.TrimSpace(value)
		last = name
	}
}

// readLine reads one line without its end.
func readLine(in *bufio.Reader, left *int) (string, error) {
	line, err := in.ReadSlice('\n')
	if *left -= len(line); *left < 0 || errors.Is(err, bufio.ErrBufferFull) {
		return "", malformed("its header is too long")
	}
	if err != nil {
		return "", unexpected(err)
	}
	return strings.TrimRight(string(line), "\r\n"), nil
}

// unexpected is an end where something else was due.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Limits of how long a service's words on itself hold.
const (
	defaultTTL = time.Hour // RFC 3507 §4.10.2: without Options-TTL they never end
	maxTTL     = 24 * time.Hour
)

// maxPreview is how much of a file goes ahead at most, in octets.
const maxPreview = 64 << 10

// serviceOf reads the answer to OPTIONS.
func serviceOf(h header) (Service, time.Duration) {
	s := Service{Name: h["service"], Preview: -1, ISTag: strings.Trim(h["istag"], `"`)}
	for m := range strings.SplitSeq(h["methods"], ",") {
		if m = strings.ToUpper(strings.TrimSpace(m)); m != "" {
			s.Methods = append(s.Methods, m)
		}
	}
	if n, err := strconv.Atoi(h["preview"]); err == nil && n >= 0 {
		s.Preview = min(n, maxPreview)
	}
	for a := range strings.SplitSeq(h["allow"], ",") {
		s.Allow = s.Allow || strings.TrimSpace(a) == "204"
	}
	ttl := defaultTTL
	if n, err := strconv.Atoi(h["options-ttl"]); err == nil && n >= 0 {
		ttl = min(time.Duration(min(n, int(maxTTL/time.Second)))*time.Second, maxTTL)
	}
	return s, ttl
}
