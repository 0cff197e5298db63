package cpim

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// DefaultRefresh is how long an active state holds when the document does not say (RFC 3994 §3.3).
const DefaultRefresh = 120 * time.Second

// maxRefresh bounds what a peer may claim, in seconds.
const maxRefresh = 24 * 60 * 60

// Composing is an is-composing document (RFC 3994).
type Composing struct {
	Active      bool
	ContentType string
	Refresh     time.Duration // whole seconds, a day at most; 0: not said; see Lapse
}

// Lapse is how long an active state holds without a repeat.
func (c Composing) Lapse() time.Duration {
	if c.Refresh <= 0 {
		return DefaultRefresh
	}
	return c.Refresh
}

// ParseComposing reads an is-composing document. Unknown states count as idle (RFC 3994 §3.2). Anything
// that is none is ErrMalformed.
func ParseComposing(b []byte) (Composing, error) {
	root, err := readXML(b)
	if err != nil {
		return Composing{}, err
	}
	if root.name != "isComposing" {
		return Composing{}, fmt.Errorf("is-composing: root is %.40q: %w", root.name, ErrMalformed)
	}
	state, err := root.value("state")
	if err != nil {
		return Composing{}, err
	}
	c := Composing{Active: state == "active"}
	if c.ContentType, err = root.value("contenttype"); err != nil {
		return Composing{}, err
	}
	refresh, err := root.value("refresh")
	if err != nil {
		return Composing{}, err
	}
	if n, err := strconv.ParseUint(refresh, 10, 63); err == nil {
		c.Refresh = time.Duration(min(n, maxRefresh)) * time.Second
	}
	return c, nil
}

// XML writes the document.
func (c Composing) XML() []byte {
	var b strings.Builder
	state := "idle"
	if c.Active {
		state = "active"
	}
	b.WriteString("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n<isComposing xmlns=\"urn:ietf:params:xml:ns:im-iscomposing\">\r\n")
	fmt.Fprintf(&b, "<state>%s</state>\r\n", state)
	if c.ContentType != "" {
		fmt.Fprintf(&b, "<contenttype>%s</contenttype>\r\n", xmlText(c.ContentType))
	}
	if c.Active && c.Refresh > 0 {
		fmt.Fprintf(&b, "<refresh>%d</refresh>\r\n", int((c.Refresh+time.Second-1)/time.Second))
	}
	b.WriteString("</isComposing>")
	return []byte(b.String())
}
