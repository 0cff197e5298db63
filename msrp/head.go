package msrp

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
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

// ByteRange is the Byte-Range field (RFC 4975 §7.1.1): positions count octets from 1; End and Total are -1 for
// "*". What came counts, not what End says (§7.3.1). The zero ByteRange means that the field is absent.
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
	bad := func() (ByteRange, error) { return ByteRange{}, fmt.Errorf("Byte-Range %.40q", s) }
	start, rest, ok := strings.Cut(s, "-")
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

// Head is everything of a request or response but its body and continuation flag.
type Head struct {
	TransactionID string // 4 to 32 characters, unguessable where a body follows (RFC 4975 §7.1)
	Method        string // "" for a response
	Status        int    // of a response
	Comment       string // of a response
	ToPath        Path
	FromPath      Path
	MessageID     string
	Range         ByteRange
	SuccessReport bool
	FailureReport string // "" (which means yes), yes, no, partial
	ReportStatus  string // Status field of a REPORT: "000 200 OK"
	ContentType   string // "" where there is no body
	Other         []Header
	HasBody       bool // an empty line and a body, perhaps an empty one, follow
}

// ErrMalformed is wrapped by errors for bytes that are no MSRP. The connection is of no use after it.
var ErrMalformed = errors.New("malformed msrp")

// bad says that the frame is whole but its head is wrong (RFC 4975 §10.2: 400).
func bad(why string) *StatusError { return &StatusError{StatusBadRequest, why} }

const (
	// maxHead bounds start-line and headers together, in octets.
	maxHead = 16 << 10
	// maxTransactionID bounds what is taken for the id of a frame that is then answered 400.
	maxTransactionID = 64
)

// parseStart reads "MSRP tid METHOD" or "MSRP tid 200 OK". A *StatusError comes with a head.
func parseStart(line []byte) (*Head, error) {
	rest, ok := strings.CutPrefix(string(line), "MSRP ")
	tid, what, ok2 := strings.Cut(rest, " ")
	if !ok || !ok2 || tid == "" || len(tid) > maxTransactionID {
		return nil, fmt.Errorf("%w: start-line %.40q", ErrMalformed, line)
	}
	h := &Head{TransactionID: tid}
	if what != "" && what[0] >= '0' && what[0] <= '9' {
		code, comment, _ := strings.Cut(what, " ")
		n, err := strconv.Atoi(code)
		if err != nil || len(code) != 3 || n < 100 {
			return nil, fmt.Errorf("%w: status code", ErrMalformed)
		}
		h.Status, h.Comment = n, comment
		if !isText(comment) {
			return h, bad("comment of a response")
		}
		return h, nil
	}
	h.Method = what
	switch {
	case what == "" || strings.ContainsFunc(what, func(r rune) bool { return r < 'A' || r > 'Z' }):
		h.Method = "?" // a request of some kind
		return h, bad("method")
	case !isIdent(tid):
		return h, bad("transaction id")
	}
	return h, nil
}

// isIdent checks a transaction or message id: ident = alphanum 3*31ident-char (RFC 4975 §9).
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

// isText checks utf8text: no controls but tabs (RFC 4975 §9).
func isText(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
}

// isName checks the name of a header: a token (RFC 4975 §9).
func isName(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune(`"(),:;<=>?@[\]/{}`, r) })
}

// set takes one header line. n counts the lines: To-Path and From-Path must be the first two (RFC 4975 §7.1).
// Paths are kept wherever they stand, so that there is somebody to answer 400 to.
func (h *Head) set(n int, line string) error {
	name, value, ok := strings.Cut(line, ":")
	if !ok || !isName(name) || !isText(value) {
		return bad("header line")
	}
	value = strings.TrimSpace(value)
	switch strings.ToLower(name) {
	case "to-path":
		return h.path(&h.ToPath, name, value, n == 0)
	case "from-path":
		return h.path(&h.FromPath, name, value, n == 1)
	case "message-id":
		h.MessageID = value
	case "byte-range":
		r, err := parseByteRange(value)
		if err != nil {
			return bad(err.Error())
		}
		h.Range = r
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

func (h *Head) path(p *Path, name, value string, inPlace bool) error {
	read, err := ParsePath(value)
	if err != nil {
		return bad(name + " can't be read")
	}
	if *p == nil {
		*p = read
	}
	if !inPlace {
		return bad(name + " is not in its place")
	}
	return nil
}

// check looks at a whole head.
func (h *Head) check() error {
	switch {
	case h.Method == "": // a response is known by its transaction
	case len(h.ToPath) == 0 || len(h.FromPath) == 0:
		return bad("To-Path or From-Path is missing")
	case h.Method == SEND && h.MessageID == "":
		return bad("Message-ID is missing")
	}
	return nil
}

// writable checks that no field can break out of its line, and what RFC 4975 §9 says of the ids.
func (h *Head) writable() error {
	bad := func(what string) error { return fmt.Errorf("msrp head: %s can't be written", what) }
	switch {
	case !isIdent(h.TransactionID):
		return bad("transaction id")
	case h.Method == "" && (h.Status < 100 || h.Status > 999 || !isText(h.Comment)):
		return bad("status")
	case h.Method != "" && strings.ContainsFunc(h.Method, func(r rune) bool { return r < 'A' || r > 'Z' }):
		return bad("method")
	case len(h.ToPath) == 0 || len(h.FromPath) == 0 || !isText(h.ToPath.String()) || !isText(h.FromPath.String()):
		return bad("path")
	case h.MessageID != "" && !isText(h.MessageID) || h.Method == SEND && h.MessageID == "":
		return bad("Message-ID")
	case !isText(h.FailureReport) || !isText(h.ReportStatus) || !isText(h.ContentType):
		return bad("a field")
	case h.HasBody && h.ContentType == "":
		return bad("a body without Content-Type")
	}
	for _, o := range h.Other {
		if !isName(o.Name) || !isText(o.Value) {
			return bad(fmt.Sprintf("header %.40q", o.Name))
		}
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
	// RFC 4975 §9: headers of MIME come behind all others, Content-Type last.
	for _, mime := range []bool{false, true} {
		for _, o := range h.Other {
			if strings.HasPrefix(strings.ToLower(o.Name), "content-") == mime {
				field(o.Name, o.Value)
			}
		}
	}
	if h.ContentType != "" {
		field("Content-Type", h.ContentType)
	}
	b = append(b, "\r\n"...)
	if h.HasBody {
		b = append(b, "\r\n"...)
	}
	return b
}

// appendEnd writes the end-line. After a body a CRLF stands before it.
func (h *Head) appendEnd(b []byte, flag byte) []byte {
	if h.HasBody {
		b = append(b, "\r\n"...)
	}
	return appendEndLine(b, h.TransactionID, flag)
}

func appendEndLine[T string | []byte](b []byte, tid T, flag byte) []byte {
	b = append(b, "-------"...)
	b = append(b, tid...)
	return append(b, flag, '\r', '\n')
}

// ends reports whether the body has what would end its frame (RFC 4975 §7.1: such a body needs another transaction id).
func (h *Head) ends(body []byte) bool {
	return bytes.Contains(body, append([]byte("-------"), h.TransactionID...))
}
