package registrar

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Limits of XML documents of peers (PROTOCOLS S16).
const (
	maxDocument = 64 << 10
	maxDepth    = 8
	maxElements = 4096
	maxText     = 2048 // of one element; what is longer is cut
)

// element is one node of a document. Text is that of the element itself.
type element struct {
	space, name string
	attr        map[string]string // those without a namespace
	text        string
	children    []*element
}

var errDocument = errors.New("not a document of ours")

// parseXML reads a whole document strictly: no DTD and no processing instructions, so no entities of the
// sender's making, and no more of anything than the limits say.
func parseXML(doc []byte) (*element, error) {
	if len(doc) > maxDocument {
		return nil, fmt.Errorf("%w: longer than %d octets", errDocument, maxDocument)
	}
	dec := xml.NewDecoder(bytes.NewReader(doc))
	var root *element
	var open []*element
	for count := 0; ; {
		token, err := dec.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errDocument, err)
		}
		switch t := token.(type) {
		case xml.Directive:
			return nil, fmt.Errorf("%w: a DTD", errDocument)
		case xml.ProcInst:
			if t.Target != "xml" {
				return nil, fmt.Errorf("%w: a processing instruction", errDocument)
			}
		case xml.StartElement:
			if count++; count > maxElements || len(open) == maxDepth || root != nil && len(open) == 0 {
				return nil, fmt.Errorf("%w: too many or too deep elements", errDocument)
			}
			e := &element{space: t.Name.Space, name: t.Name.Local, attr: map[string]string{}}
			for _, a := range t.Attr {
				if a.Name.Space != "" {
					continue
				}
				if _, twice := e.attr[a.Name.Local]; twice {
					return nil, fmt.Errorf("%w: %s stands twice in %s", errDocument, a.Name.Local, e.name)
				}
				e.attr[a.Name.Local] = strings.TrimSpace(a.Value)
			}
			if len(open) == 0 {
				root = e
			} else {
				parent := open[len(open)-1]
				parent.children = append(parent.children, e)
			}
			open = append(open, e)
		case xml.EndElement:
			open[len(open)-1].text = strings.TrimSpace(open[len(open)-1].text)
			open = open[:len(open)-1]
		case xml.CharData:
			if len(open) > 0 {
				e := open[len(open)-1]
				e.text += string(t[:min(len(t), maxText-min(maxText, len(e.text)))])
			}
		}
	}
	if root == nil {
		return nil, fmt.Errorf("%w: empty", errDocument)
	}
	return root, nil
}

// all lists the children of a name, in the element's own namespace.
func (e *element) all(name string) []*element {
	var found []*element
	for _, c := range e.children {
		if c.name == name && c.space == e.space {
			found = append(found, c)
		}
	}
	return found
}

// one is the child of a name that may stand once, or nil.
func (e *element) one(name string) (*element, error) {
	found := e.all(name)
	switch len(found) {
	case 0:
		return nil, nil
	case 1:
		return found[0], nil
	}
	return nil, fmt.Errorf("%w: %s stands twice in %s", errDocument, name, e.name)
}
