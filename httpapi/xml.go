package httpapi

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"

	"latchkey"
)

// maxElements bounds how many elements a body may have (S16). The depth is bounded by the shape:
// a root and its fields.
const maxElements = 64

// readXML reads a root with flat elements. Document types, processing instructions,
// attributes, namespaces and deeper elements are refused (S16): nothing that the facade reads has them, and
// each is a way to make a parser work for an attacker. The root's name is the sender's business.
func readXML(body []byte) (fields, error) {
	bad := func(err error, why string) (fields, error) {
		return nil, latchkey.Wrap(latchkey.KindBadRequest, err, "XML: "+why)
	}
	d := xml.NewDecoder(bytes.NewReader(body))
	got := fields{}
	var (
		open     []string // names of the elements around: the root, and the field
		rooted   bool
		elements int
		text     []byte
	)
	for {
		// Raw, so that a prefix stays a prefix; that ends match their starts is checked here.
		token, err := d.RawToken()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return bad(err, "the body is not well-formed")
		}
		switch t := token.(type) {
		case xml.Directive:
			return bad(nil, "a document type is not allowed")
		case xml.ProcInst:
			if t.Target != "xml" || rooted {
				return bad(nil, "a processing instruction is not allowed")
			}
		case xml.StartElement:
			elements++
			switch {
			case len(t.Attr) > 0 || t.Name.Space != "":
				return bad(nil, "attributes and namespaces are not allowed")
			case elements > maxElements:
				return bad(nil, fmt.Sprintf("more than %d elements", maxElements))
			case len(open) == 0 && rooted:
				return bad(nil, "more than one root")
			case len(open) == 2:
				return bad(nil, "elements are nested too deep")
			}
			open, rooted, text = append(open, t.Name.Local), true, nil
		case xml.EndElement:
			if len(open) == 0 || t.Name.Space != "" || t.Name.Local != open[len(open)-1] {
				return bad(nil, "the body is not well-formed")
			}
			if len(open) == 2 {
				f := got[t.Name.Local]
				f.texts = append(f.texts, string(text))
				f.list = len(f.texts) > 1
				got[t.Name.Local] = f
			}
			open = open[:len(open)-1]
		case xml.CharData:
			if len(open) == 2 {
				text = append(text, t...)
			} else if len(bytes.TrimSpace(t)) > 0 {
				return bad(nil, "text outside of the elements")
			}
		}
	}
	if !rooted || len(open) > 0 {
		return bad(nil, "the body is not well-formed")
	}
	return got, nil
}

// toXML writes a JSON document of ours as XML with the same names in the same order (see
// the package comment). kind names the root; a list of that name is what the document is about,
// and its items are elements of the kind's singular.
func toXML(kind string, doc []byte) ([]byte, error) {
	b := bytes.NewBufferString(xml.Header)
	if err := element(b, kind, doc, kind); err != nil {
		return nil, fmt.Errorf("xml of %s: %w", kind, err)
	}
	return b.Bytes(), nil
}

// element writes a JSON value under a name; null is nothing. kind is the root's name for the root, and
// "" further down.
func element(b *bytes.Buffer, name string, value json.RawMessage, kind string) error {
	d := json.NewDecoder(bytes.NewReader(value))
	d.UseNumber()
	token, err := d.Token()
	if err != nil {
		return err
	}
	if token == json.Delim('[') {
		for d.More() {
			var item json.RawMessage
			if err := d.Decode(&item); err != nil {
				return err
			}
			if err := element(b, name, item, ""); err != nil {
				return err
			}
		}
		_, err := d.Token() // ]
		return err
	}
	if token == nil {
		return nil
	}
	b.WriteString("<" + name + ">")
	defer b.WriteString("</" + name + ">")
	if token != json.Delim('{') {
		return xml.EscapeText(b, fmt.Append(nil, token))
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return err
		}
		member, _ := key.(string) // RFC 8259 §4: a name is a string
		var inner json.RawMessage
		if err := d.Decode(&inner); err != nil {
			return err
		}
		if member == kind && inner[0] == '[' {
			member = strings.TrimSuffix(member, "s")
		}
		if err := element(b, member, inner, ""); err != nil {
			return err
		}
	}
	_, err = d.Token() // }
	return err
}
