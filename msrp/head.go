package msrp

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Methods of requests (RFC 4975 §7, RFC 4976 §4.1).
const (
	SEND   = "SEND"
	REPORT = "REPORT"
	AUTH   = "AUTH"
)

// Continuation flags of an end-line (RFC 4975 §7.1).
const (
	Complete   = '$' // the message ends here
	Incomplete = '+' // more chunks follow
	Aborted    = '#' // the sender gave up; discard the message
)

// Header is a field that this package does not interpret.
type Header struct{ Name, Value string }

// ByteRange is the Byte-Range field: positions count from 1; End and Total are -1 for "*".
type ByteRange struct{ Start, End, Total int64 }

// String is the field's value.
func (r ByteRange) String() string {
	star := func(n int64) string {
		if n < 0 {
			return "*"
		}
		return strconv.FormatInt(n, 10)
	}
	return strconv.FormatInt(r.Start, 10) + "-" + star(r.End) + "/" + star(r.Total)
}

func parseByteRange(s string) (ByteRange, error) {
	bad := func() (ByteRange, error) { return ByteRange{}, fmt.Errorf("msrp byte-range %.40q", s) }
	start, rest, ok := strings.Cut(strings.TrimSpace(s), "-")
	end, total, ok2 := strings.Cut(rest, "/")
	if !ok || !ok2 {
		return bad()
	}
	num := func(s string, star bool) (int64, bool) {
		if s == "*" && star {
			return -1, true
		}
		n, err := strconv.ParseUint(s, 10, 62)
		return int64(n), err == nil
	}
	var r ByteRange
	var okS, okE, okT bool
	r.Start, okS = num(start, false)
	r.End, okE = num(end, true)
	r.Total, okT = num(total, true)
	if !okS || !okE || !okT || r.Start < 1 {
		return bad()
	}
	return r, nil
}

// Head is everything of a request or response but its body.
type Head struct {
	TransactionID string
	Method        string // "" for a response
	Status        int    // of a response
	Comment       string // of a response
	ToPath        Path
	FromPath      Path
	MessageID     string
	Range         ByteRange // zero: absent
	SuccessReport bool
	FailureReport string // "", yes, no, partial
	ReportStatus  string // Status field of a REPORT: "000 200 OK"
	ContentType   string // "" : no body
	Other         []Header
	hasBody       bool
}

// ErrMalformed is returned for bytes that are no MSRP. The connection is of no use after it,
// unless the error is a *badRequest: that message could be read to its end and is answered 400.
var ErrMalformed = errors.New("malformed msrp")

// badRequest says that the frame is whole but its head is wrong (RFC 4975 §10.2: 400).
type badRequest struct{ why string }

func (b *badRequest) Error() string { return "bad msrp request: " + b.why }

// maxHead bounds start-line and headers together.
const maxHead = 16 << 10

// parseStart reads "MSRP tid METHOD" or "MSRP tid 200 OK".
func parseStart(line []byte) (*Head, error) {
	rest, ok := bytes.CutPrefix(line, []byte("MSRP "))
	if !ok {
		return nil, fmt.Errorf("%w: no start-line", ErrMalformed)
	}
	tid, what, ok := strings.Cut(string(rest), " ")
	if !ok || !isIdent(tid) {
		return nil, fmt.Errorf("%w: start-line", ErrMalformed)
	}
	h := &Head{TransactionID: tid}
	if what != "" && what[0] >= '0' && what[0] <= '9' {
		code, comment, _ := strings.Cut(what, " ")
		n, err := strconv.Atoi(code)
		if err != nil || len(code) != 3 {
			return nil, fmt.Errorf("%w: status code", ErrMalformed)
		}
		h.Status, h.Comment = n, comment
		return h, nil
	}
	if what == "" || strings.ContainsFunc(what, func(r rune) bool { return r < 'A' || r > 'Z' }) {
		return nil, fmt.Errorf("%w: method", ErrMalformed)
	}
	h.Method = what
	return h, nil
}

// isIdent checks a transaction id: ident = alphanum 3*31ident-char (RFC 4975 §9).
func isIdent(s string) bool {
	if len(s) < 4 || len(s) > 32 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		alnum := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !alnum && (i == 0 || !strings.ContainsRune(".-+%=", rune(c))) {
			return false
		}
	}
	return true
}

// set takes one header line. n counts the lines: To-Path and From-Path must be the first two (RFC 4975 §7.1).
func (h *Head) set(n int, line string) error {
	name, value, ok := strings.Cut(line, ":")
	if !ok {
		return &badRequest{"a header without colon"}
	}
	value = strings.TrimSpace(value)
	var err error
	switch lower := strings.ToLower(name); lower {
	case "to-path", "from-path":
		if n != map[string]int{"to-path": 0, "from-path": 1}[lower] {
			return &badRequest{name + " is not in its place"}
		}
		p, perr := ParsePath(value)
		if perr != nil {
			return &badRequest{perr.Error()}
		}
		if n == 0 {
			h.ToPath = p
		} else {
			h.FromPath = p
		}
	case "message-id":
		h.MessageID = value
	case "byte-range":
		if h.Range, err = parseByteRange(value); err != nil {
			return &badRequest{err.Error()}
		}
	case "success-report":
		h.SuccessReport = strings.EqualFold(value, "yes")
	case "failure-report":
		h.FailureReport = strings.ToLower(value)
	case "status":
		h.ReportStatus = value
	case "content-type":
		h.ContentType = value
	default:
		h.Other = append(h.Other, Header{name, value})
	}
	return nil
}

// check looks at a whole head.
func (h *Head) check() error {
	switch {
	case len(h.ToPath) == 0 || len(h.FromPath) == 0:
		return &badRequest{"To-Path or From-Path is missing"}
	case h.Method == SEND && h.MessageID == "":
		return &badRequest{"Message-ID is missing"}
	case h.hasBody && h.ContentType == "" && h.Method == SEND:
		return &badRequest{"a body without Content-Type"}
	}
	return nil
}

// appendTo writes the head up to the body: the start-line, headers and, where a body follows, the empty line.
func (h *Head) appendTo(b []byte) []byte {
	b = append(b, "MSRP "...)
	b = append(b, h.TransactionID...)
	b = append(b, ' ')
	if h.Method != "" {
		b = append(b, h.Method...)
	} else {
		b = strconv.AppendInt(b, int64(h.Status), 10)
		if h.Comment != "" {
			b = append(b, ' ')
			b = append(b, h.Comment...)
		}
	}
	field := func(name, value string) {
		b = append(b, "\r\n"...)
		b = append(b, name...)
		b = append(b, ": "...)
		b = append(b, value...)
	}
	field("To-Path", h.ToPath.String())
	field("From-Path", h.FromPath.String())
	if h.MessageID != "" {
		field("Message-ID", h.MessageID)
	}
	if h.SuccessReport {
		field("Success-Report", "yes")
	}
	if h.FailureReport != "" {
		field("Failure-Report", h.FailureReport)
	}
	if h.Range.Start != 0 {
		field("Byte-Range", h.Range.String())
	}
	if h.ReportStatus != "" {
		field("Status", h.ReportStatus)
	}
	for _, o := range h.Other {
		field(o.Name, o.Value)
	}
	if h.ContentType != "" {
		field("Content-Type", h.ContentType) // RFC 4975 §7.1: MIME headers last
	}
	b = append(b, "\r\n"...)
	if h.hasBody {
		b = append(b, "\r\n"...)
	}
	return b
}

// appendEnd writes the end-line. After a body a CRLF stands before it.
func (h *Head) appendEnd(b []byte, flag byte) []byte {
	if h.hasBody {
		b = append(b, "\r\n"...)
	}
	b = append(b, "-------"...)
	b = append(b, h.TransactionID...)
	b = append(b, flag, '\r', '\n')
	return b
}
