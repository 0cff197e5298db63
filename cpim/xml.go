package cpim

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Limits of XML documents from strangers (S16): octets, levels, elements.
const (
	maxXML   = 64 << 10
	maxDepth = 16
	maxNodes = 4096
)

// node is an element with what this package needs of it. Names are local, because clients disagree on the namespaces; but an
// element of another namespace than its parent's is an extension, and none of those that are asked for (RFC 5438 §11.1).
type node struct {
	name     string
	space    string
	attrs    []xml.Attr
	text     string
	children []*node
}

// readXML reads a document without DTD, processing instructions other than the declaration, or excess.
func readXML(b []byte) (*node, error) {
	if len(b) > maxXML {
		return nil, fmt.Errorf("xml: larger than %d octets: %w", maxXML, ErrMalformed)
	}
	d := xml.NewDecoder(bytes.NewReader(b))
	d.Strict = true
	d.CharsetReader = func(charset string, r io.Reader) (io.Reader, error) {
		if strings.EqualFold(charset, "utf-8") || strings.EqualFold(charset, "us-ascii") {
			return r, nil
		}
		return nil, fmt.Errorf("charset %q is not read", charset)
	}
	var root *node
	var stack []*node
	nodes := 0
	for {
		t, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("xml: %w: %w", err, ErrMalformed)
		}
		switch t := t.(type) {
		case xml.ProcInst:
			if t.Target != "xml" || root != nil {
				return nil, fmt.Errorf("xml: a processing instruction is not read: %w", ErrMalformed)
			}
		case xml.Directive:
			return nil, fmt.Errorf("xml: a DTD is not read: %w", ErrMalformed)
		case xml.StartElement:
			if nodes++; nodes > maxNodes || len(stack) >= maxDepth {
				return nil, fmt.Errorf("xml: too deep or too many elements: %w", ErrMalformed)
			}
			n := &node{name: t.Name.Local, space: t.Name.Space, attrs: t.Copy().Attr}
			switch {
			case len(stack) > 0:
				parent := stack[len(stack)-1]
				parent.children = append(parent.children, n)
			case root == nil:
				root = n
			default:
				return nil, fmt.Errorf("xml: two roots: %w", ErrMalformed)
			}
			stack = append(stack, n)
		case xml.EndElement:
			stack = stack[:len(stack)-1]
		case xml.CharData:
			if len(stack) > 0 {
				stack[len(stack)-1].text += string(t)
			}
		}
	}
	if root == nil || len(stack) > 0 {
		return nil, fmt.Errorf("xml: no whole document: %w", ErrMalformed)
	}
	return root, nil
}

// child is the only child called name; nil if there is none. Two of them are an error (S16).
func (n *node) child(name string) (*node, error) {
	var found *node
	for _, c := range n.children {
		if c.name == name && c.space == n.space {
			if found != nil {
				return nil, fmt.Errorf("xml: two %s elements: %w", name, ErrMalformed)
			}
			found = c
		}
	}
	return found, nil
}

// value is the trimmed text of the only child called name, or "".
func (n *node) value(name string) (string, error) {
	c, err := n.child(name)
	if c == nil || err != nil {
		return "", err
	}
	return strings.TrimSpace(c.text), nil
}

func xmlText(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // strings.Builder never fails
	return b.String()
}
