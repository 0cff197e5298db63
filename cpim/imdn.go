package cpim

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Kind says which sort of notification it is (RFC 5438 §7.2).
type Kind string

// Kinds of notification.
const (
	DeliveryNotification   Kind = "delivery-notification"
	DisplayNotification    Kind = "display-notification"
	ProcessingNotification Kind = "processing-notification"
)

// Statuses of notifications (RFC 5438 §7.2). Which goes with which kind: delivered and failed with delivery, displayed
// with display, processed and stored with processing, forbidden and error with all.
const (
	Delivered = "delivered"
	Displayed = "displayed"
	Processed = "processed"
	Stored    = "stored"
	Failed    = "failed"
	Forbidden = "forbidden"
	ErrorSeen = "error"
)

// Notification is one IMDN (message/imdn+xml).
type Notification struct {
	MessageID            string    // of the message that it is about
	DateTime             time.Time // when that message was sent (RFC 5438 §11.1.2); zero: not said, or not readable
	RecipientURI         string    // the message's To
	OriginalRecipientURI string    // its Original-To, where it had one (RFC 5438 §11.1.4)
	Kind                 Kind
	Status               string
}

// IMDNType and ComposingType are the media types of this package's XML.
const (
	Type          = "message/cpim"
	IMDNType      = "message/imdn+xml"
	ComposingType = "application/im-iscomposing+xml"
)

// ParseIMDN reads a notification document: one imdn element, or several under another root, as aggregating servers send them; an element
// may tell two kinds at once. Anything else is ErrMalformed, a document without a notification, too.
func ParseIMDN(b []byte) ([]Notification, error) {
	root, err := readXML(b)
	if err != nil {
		return nil, err
	}
	elements := []*node{root}
	if root.name != "imdn" {
		elements = slices.DeleteFunc(root.children, func(c *node) bool { return c.name != "imdn" })
	}
	var all []Notification
	for _, e := range elements {
		some, err := notifications(e)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("imdn: no notification: %w", ErrMalformed)
	}
	return all, nil
}

func notifications(e *node) ([]Notification, error) {
	var n Notification
	var err error
	if n.MessageID, err = e.value("message-id"); err != nil {
		return nil, err
	}
	if n.MessageID == "" {
		return nil, fmt.Errorf("imdn: no message-id: %w", ErrMalformed)
	}
	when, err := e.value("datetime")
	if err != nil {
		return nil, err
	}
	n.DateTime, _ = time.Parse(time.RFC3339Nano, when) // informative
	if n.RecipientURI, err = e.value("recipient-uri"); err != nil {
		return nil, err
	}
	if n.OriginalRecipientURI, err = e.value("original-recipient-uri"); err != nil {
		return nil, err
	}
	var all []Notification
	for _, kind := range []Kind{DeliveryNotification, ProcessingNotification, DisplayNotification} {
		c, err := e.child(string(kind))
		if err != nil {
			return nil, err
		}
		if c == nil {
			continue
		}
		status, err := c.child("status")
		if err != nil {
			return nil, err
		}
		n.Kind, n.Status = kind, ""
		if status != nil {
			for _, s := range slices.Backward(status.children) {
				if s.space == status.space { // the first one; extensions are qualified (RFC 5438 §11.1.7)
					n.Status = s.name
				}
			}
		}
		if n.Status == "" {
			return nil, fmt.Errorf("imdn: %s without status: %w", kind, ErrMalformed)
		}
		all = append(all, n)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("imdn: no kind that is known: %w", ErrMalformed)
	}
	return all, nil
}

// XML writes the notification's document. Kind and Status are to be of the constants.
func (n Notification) XML() []byte {
	var b strings.Builder
	// RFC 5438 §11.1: the document's namespace is not that of the CPIM headers.
	b.WriteString("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n<imdn xmlns=\"urn:ietf:params:xml:ns:imdn\">\r\n")
	fmt.Fprintf(&b, "<message-id>%s</message-id>\r\n<datetime>%s</datetime>\r\n", xmlText(n.MessageID), n.DateTime.UTC().Format("2006-01-02T15:04:05.000Z"))
	if n.RecipientURI != "" {
		fmt.Fprintf(&b, "<recipient-uri>%s</recipient-uri>\r\n", xmlText(n.RecipientURI))
	}
	if n.OriginalRecipientURI != "" {
		fmt.Fprintf(&b, "<original-recipient-uri>%s</original-recipient-uri>\r\n", xmlText(n.OriginalRecipientURI))
	}
	fmt.Fprintf(&b, "<%s><status><%s/></status></%s>\r\n</imdn>", n.Kind, n.Status, n.Kind)
	return []byte(b.String())
}
