package cpim

import (
	"fmt"
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

// Statuses of notifications.
const (
	Delivered = "delivered"
	Displayed = "displayed"
	Failed    = "failed"
	Forbidden = "forbidden"
	ErrorSeen = "error"
)

// Notification is one IMDN (message/imdn+xml).
type Notification struct {
	MessageID    string // of the message that it is about
	DateTime     time.Time
	RecipientURI string
	Kind         Kind
	Status       string
}

// IMDNType and ComposingType are the media types of this package's XML.
const (
	Type          = "message/cpim"
	IMDNType      = "message/imdn+xml"
	ComposingType = "application/im-iscomposing+xml"
)

// ParseIMDN reads a notification document: one imdn element, or several in a multi-imdn.
func ParseIMDN(b []byte) ([]Notification, error) {
	root, err := readXML(b)
	if err != nil {
		return nil, err
	}
	elements := []*node{root}
	if root.name != "imdn" {
		elements = nil
		for _, c := range root.children {
			if c.name == "imdn" {
				elements = append(elements, c)
			}
		}
	}
	var all []Notification
	for _, e := range elements {
		n, err := notification(e)
		if err != nil {
			return nil, err
		}
		all = append(all, n)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("imdn: no notification: %w", ErrMalformed)
	}
	return all, nil
}

func notification(e *node) (Notification, error) {
	var n Notification
	var err error
	if n.MessageID, err = e.value("message-id"); err != nil {
		return n, err
	}
	if n.MessageID == "" {
		return n, fmt.Errorf("imdn: no message-id: %w", ErrMalformed)
	}
	when, err := e.value("datetime")
	if err != nil {
		return n, err
	}
	n.DateTime, _ = time.Parse(time.RFC3339Nano, when) // RFC 5438 §7.2: informative
	if n.RecipientURI, err = e.value("recipient-uri"); err != nil {
		return n, err
	}
	for _, c := range e.children {
		kind := Kind(c.name)
		if kind != DeliveryNotification && kind != DisplayNotification && kind != ProcessingNotification {
			continue
		}
		status, err := c.child("status")
		if err != nil {
			return n, err
		}
		if n.Kind != "" || status == nil || len(status.children) == 0 {
			return n, fmt.Errorf("imdn: no single status: %w", ErrMalformed)
		}
		n.Kind, n.Status = kind, status.children[0].name
	}
	if n.Kind == "" {
		return n, fmt.Errorf("imdn: no status: %w", ErrMalformed)
	}
	return n, nil
}

// XML writes the notification's document.
func (n Notification) XML() []byte {
	var b strings.Builder
	// RFC 5438 §11.1: the document's namespace is not that of the CPIM headers.
	b.WriteString("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n<imdn xmlns=\"urn:ietf:params:xml:ns:imdn\">\r\n")
	fmt.Fprintf(&b, "<message-id>%s</message-id>\r\n<datetime>%s</datetime>\r\n", xmlText(n.MessageID), n.DateTime.UTC().Format("2006-01-02T15:04:05.000Z"))
	if n.RecipientURI != "" {
		fmt.Fprintf(&b, "<recipient-uri>%s</recipient-uri>\r\n", xmlText(n.RecipientURI))
	}
	fmt.Fprintf(&b, "<%s><status><%s/></status></%s>\r\n</imdn>", n.Kind, n.Status, n.Kind)
	return []byte(b.String())
}
