package mm7

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"strings"
)

// envelope is what comes: answers and reports alike.
type envelope struct {
	XMLName xml.Name
	Header  struct {
		XMLName       xml.Name
		TransactionID []named `xml:"TransactionID"`
	} `xml:"Header"`
	Body struct {
		XMLName xml.Name
		Any     []body `xml:",any"`
	} `xml:"Body"`
}

type named struct {
	XMLName xml.Name
	Text    string `xml:",chardata"`
}

// body has the elements of all bodies that are read here.
type body struct {
	XMLName   xml.Name
	Status    status   `xml:"Status"`
	MessageID string   `xml:"MessageID"`
	MMStatus  string   `xml:"MMStatus"`
	Text      string   `xml:"StatusText"`
	Recipient *address `xml:"Recipient"`
	Fault     string   `xml:"faultstring"`
	Detail    struct {
		Any []body `xml:",any"`
	} `xml:"detail"`
}

type status struct {
	Code    string `xml:"StatusCode"`
	Text    string `xml:"StatusText"`
	Details string `xml:"Details"`
}

type address struct {
	Number    string `xml:"Number"`
	ShortCode string `xml:"ShortCode"`
	Address   string `xml:"RFC2822Address"`
}

// parse reads an envelope strictly: one well-formed document without a DTD, in SOAP's namespace, with one element of MM7 in its body.
func parse(text []byte) (transaction string, b body, err error) {
	dec := xml.NewDecoder(bytes.NewReader(text))
	for depth, first := 0, true; ; {
		token, err := dec.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return "", body{}, err
		}
		switch token := token.(type) {
		case xml.Directive:
			return "", body{}, errors.New("a document type is not allowed (SOAP 1.1 §3)")
		case xml.ProcInst:
			if token.Target != "xml" {
				return "", body{}, errors.New("processing instructions are not allowed (SOAP 1.1 §3)")
			}
		case xml.StartElement:
			if depth == 0 && !first {
				return "", body{}, errors.New("a second document")
			}
			if depth++; depth > 32 {
				return "", body{}, errors.New("too deep")
			}
			first = false
		case xml.EndElement:
			depth--
		case xml.CharData:
			if depth == 0 && len(bytes.TrimSpace(token)) > 0 {
				return "", body{}, errors.New("text outside of the envelope")
			}
		}
	}
	var e envelope
	if err := xml.Unmarshal(text, &e); err != nil {
		return "", body{}, err
	}
	if e.XMLName != (xml.Name{Space: soapSpace, Local: "Envelope"}) || e.Body.XMLName.Space != soapSpace {
		return "", body{}, fmt.Errorf("%s is not a SOAP 1.1 envelope with a body", e.XMLName.Local)
	}
	for _, t := range e.Header.TransactionID {
		if strings.HasPrefix(t.XMLName.Space, spaceFamily) {
			transaction = strings.TrimSpace(t.Text)
		}
	}
	if len(e.Body.Any) != 1 {
		return transaction, body{}, fmt.Errorf("%d elements in the body, 1 is right", len(e.Body.Any))
	}
	b = e.Body.Any[0]
	if b.XMLName == (xml.Name{Space: soapSpace, Local: "Fault"}) {
		return transaction, b, nil
	}
	if !strings.HasPrefix(b.XMLName.Space, spaceFamily) {
		return transaction, b, fmt.Errorf("%s is not in a namespace of MM7", b.XMLName.Local)
	}
	return transaction, b, nil
}

// readXML takes the envelope out of a body: it is all of it, or the first part (SOAP with attachments).
func readXML(contentType string, r io.Reader) ([]byte, error) {
	kind, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		return nil, fmt.Errorf("content type: %w", err)
	}
	switch {
	case kind == "text/xml", kind == "application/xml", kind == "application/soap+xml":
	case kind == "multipart/related":
		part, err := multipart.NewReader(r, params["boundary"]).NextPart()
		if err != nil {
			return nil, err
		}
		if kind, _, _ = mime.ParseMediaType(part.Header.Get("Content-Type")); kind != "text/xml" && kind != "application/xml" {
			return nil, fmt.Errorf("the first part is %s, and not the envelope", kind)
		}
		r = part
	default:
		return nil, fmt.Errorf("content type %s is neither text/xml nor multipart/related", kind)
	}
	text, err := io.ReadAll(io.LimitReader(r, maxXML+1))
	if err == nil && len(text) > maxXML {
		err = fmt.Errorf("the envelope is longer than %d octets", maxXML)
	}
	return text, err
}

// escaped is s as character data, without what XML can't carry.
func escaped(s string) string {
	var b bytes.Buffer
	_ = xml.EscapeText(&b, []byte(s)) // a Buffer takes all
	return b.String()
}

// wrap puts a body into an envelope.
func wrap(transaction, body string) string {
	return `<?xml version="1.0" encoding="UTF-8"?>` + "\n" +
		`<env:Envelope xmlns:env="` + soapSpace + `"><env:Header><mm7:TransactionID xmlns:mm7="` + Space + `" env:mustUnderstand="1">` + escaped(transaction) +
		`</mm7:TransactionID></env:Header><env:Body>` + body + `</env:Body></env:Envelope>` + "\n"
}
