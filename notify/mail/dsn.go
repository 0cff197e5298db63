package mail

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/textproto"
	"regexp"
	"strings"

	"github.com/emersion/go-message"
)

// DeliveryStatus is what a server reports about one recipient of a mail (RFC 3464 §2.3).
type DeliveryStatus struct {
	Action string // failed, delayed, delivered, relayed or expanded
	Status string // RFC 3463: 5.1.1; "" if it makes no sense
}

// errNoReport says that a mail is something else.
var errNoReport = errors.New("no delivery status notification")

// Bounds of a report.
const (
	maxStatusPart = 64 << 10 // bytes of the part that programs read
	maxNested     = 4        // multiparts within each other
)

var statusForm = regexp.MustCompile(`\b[245]\.\d{1,3}\.\d{1,3}\b`)

// actions by how much they say: a report on several recipients, into which an alias was expanded, counts as its best news.
var actions = map[string]int{"delayed": 1, "relayed": 2, "expanded": 2, "failed": 3, "delivered": 4}

// ReadReport finds the status in a mail that is a report (RFC 3462, RFC 3464, RFC 6533). It reads all of r.
func ReadReport(r io.Reader) (DeliveryStatus, error) {
	in := &keeper{r: r}
	d, err := readReport(in)
	_, drained := io.Copy(io.Discard, in)
	switch {
	case in.err != nil:
		return DeliveryStatus{}, in.err
	case drained != nil:
		return DeliveryStatus{}, drained
	}
	return d, err
}

// keeper remembers what went wrong below, which parsers word as they like.
type keeper struct {
	r   io.Reader
	err error
}

func (k *keeper) Read(p []byte) (int, error) {
	n, err := k.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		k.err = err
	}
	return n, err
}

func readReport(r io.Reader) (DeliveryStatus, error) {
	e, err := message.Read(r)
	if err != nil && !message.IsUnknownCharset(err) && !message.IsUnknownEncoding(err) {
		return DeliveryStatus{}, fmt.Errorf("%w: %w", errNoReport, err)
	}
	return findStatus(e, 0)
}

// findStatus looks for the part of a report that is for programs. Some servers put the report into another multipart, or leave report-type
// out; what is returned with it may be a report, too, but is of type message/rfc822 and not looked into.
func findStatus(e *message.Entity, depth int) (DeliveryStatus, error) {
	kind, _, _ := e.Header.ContentType()
	switch kind = strings.ToLower(kind); {
	case kind == "message/delivery-status" || kind == "message/global-delivery-status":
		body, err := io.ReadAll(io.LimitReader(e.Body, maxStatusPart))
		if err != nil {
			return DeliveryStatus{}, fmt.Errorf("%w: %w", errNoReport, err)
		}
		return readStatus(body)
	case !strings.HasPrefix(kind, "multipart/") || depth == maxNested:
		return DeliveryStatus{}, errNoReport
	}
	parts := e.MultipartReader()
	if parts == nil {
		return DeliveryStatus{}, errNoReport
	}
	for {
		part, err := parts.NextPart()
		if err != nil && !message.IsUnknownCharset(err) && !message.IsUnknownEncoding(err) {
			return DeliveryStatus{}, errNoReport
		}
		if d, err := findStatus(part, depth+1); err == nil {
			return d, nil
		}
	}
}

// readStatus reads groups of fields: one on the mail, then one for each recipient.
func readStatus(body []byte) (best DeliveryStatus, err error) {
	for group := range groups(body) {
		fields, err := textproto.NewReader(bufio.NewReader(io.MultiReader(bytes.NewReader(group), strings.NewReader("\r\n\r\n")))).ReadMIMEHeader()
		if err != nil && len(fields) == 0 {
			continue
		}
		// RFC 3464 §2.3.3: case doesn't matter; some servers add a comment.
		action, _, _ := strings.Cut(strings.ToLower(strings.TrimSpace(fields.Get("Action"))), " ")
		if actions[action] > actions[best.Action] {
			best = DeliveryStatus{Action: action, Status: statusForm.FindString(fields.Get("Status"))}
			if best.Status == "" {
				best.Status = statusForm.FindString(fields.Get("Diagnostic-Code"))
			}
		}
	}
	if best.Action == "" {
		return best, errNoReport
	}
	return best, nil
}

// groups parts a body at its empty lines.
func groups(body []byte) func(yield func([]byte) bool) {
	body = bytes.ReplaceAll(body, []byte("\r\n"), []byte("\n"))
	return func(yield func([]byte) bool) {
		for group := range bytes.SplitSeq(body, []byte("\n\n")) {
			if group = bytes.TrimLeft(group, "\n"); len(group) > 0 && !yield(group) {
				return
			}
		}
	}
}
