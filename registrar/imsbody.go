package registrar

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/textproto"
	"strings"

	"github.com/emiago/sipgo/sip"
)

// Content types of the bodies of a third-party REGISTER (TS 24.229 §5.4.1.7, PROTOCOLS B1.03).
const (
	messageSIP = "message/sip"
	imsXML     = "application/3gpp-ims+xml"
	anyParts   = "multipart/mixed"
)

// thirdPartyTypes is what Accept says of them.
const thirdPartyTypes = messageSIP + ", " + imsXML + ", " + anyParts

// maxParts and maxNested bound the parts of a multipart body.
const (
	maxParts  = 8
	maxNested = 3
)

var errMediaType = errors.New("media type not understood")

// thirdPartyBody is what the bodies of a third-party REGISTER tell.
type thirdPartyBody struct {
	features    string // parameters of the Contacts in the user's own REGISTER or in its 200
	serviceInfo string
}

// parseThirdPartyBody reads no body, one body, or several.
func parseThirdPartyBody(contentType string, body []byte) (b thirdPartyBody, err error) {
	if len(body) == 0 {
		return b, nil
	}
	return b, b.take(contentType, body, 0)
}

func (b *thirdPartyBody) take(contentType string, body []byte, depth int) error {
	kind, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		return fmt.Errorf("%w: %w", errMediaType, err)
	}
	switch kind {
	case messageSIP:
		b.features = contactFeatures(body)
		return nil
	case imsXML:
		doc, err := parseIMS(body)
		b.serviceInfo = doc.serviceInfo
		return err
	case anyParts:
		if depth == maxNested { // RFC 5621 §4.2: multipart may stand in multipart
			return fmt.Errorf("%w: %d multiparts in each other", errMediaType, depth)
		}
		return b.takeParts(params["boundary"], body, depth+1)
	}
	return fmt.Errorf("%w: %s", errMediaType, kind)
}

func (b *thirdPartyBody) takeParts(boundary string, body []byte, depth int) error {
	if boundary == "" {
		return fmt.Errorf("%w: no boundary", errMediaType)
	}
	parts := multipart.NewReader(bytes.NewReader(body), boundary)
	for n := 0; ; n++ {
		part, err := parts.NextRawPart()
		switch {
		case err == io.EOF && n > 0:
			return nil
		case err != nil:
			return fmt.Errorf("%w: multipart: %w", errDocument, err)
		case n == maxParts:
			return fmt.Errorf("%w: more than %d parts", errDocument, maxParts)
		}
		text, err := io.ReadAll(io.LimitReader(part, maxDocument+1))
		if err != nil {
			return fmt.Errorf("%w: multipart: %w", errDocument, err)
		}
		err = b.take(partType(part.Header), text, depth)
		// RFC 3261 §20.11: a part that need not be understood says handling=optional.
		if err != nil && !(errors.Is(err, errMediaType) && optional(part.Header)) {
			return err
		}
	}
}

func partType(h textproto.MIMEHeader) string {
	if t := h.Get("Content-Type"); t != "" {
		return t
	}
	return "text/plain" // RFC 2045 §5.2
}

func optional(h textproto.MIMEHeader) bool {
	_, params, err := mime.ParseMediaType(h.Get("Content-Disposition"))
	return err == nil && strings.EqualFold(params["handling"], "optional")
}

// contactFeatures takes the parameters of all Contacts out of a SIP message, or of the part of one that
// message/sip may be. What can't be read tells nothing.
func contactFeatures(text []byte) string {
	if len(text) > maxDocument {
		return ""
	}
	msg, err := sip.ParseMessage(text)
	if err != nil {
		return ""
	}
	fields, ok := msg.(interface{ GetHeaders(string) []sip.Header })
	if !ok {
		return ""
	}
	var all []string
	for _, h := range fields.GetHeaders("Contact") {
		if c, ok := h.(*sip.ContactHeader); ok && !c.Address.Wildcard && len(c.Params) > 0 {
			all = append(all, paramsText(c.Params))
		}
	}
	return cleanFeatures(strings.Join(all, ";"))
}

// paramsText writes parameters as they came: sipgo cuts them at ; and = even inside quotes.
func paramsText(params sip.HeaderParams) string {
	var text []string
	for _, p := range params {
		if p.V == "" {
			text = append(text, p.K)
		} else {
			text = append(text, p.K+"="+p.V)
		}
	}
	return strings.Join(text, ";")
}

// imsDocument is application/3gpp-ims+xml (TS 24.229 §7.6), whose namespace differs between releases.
type imsDocument struct {
	serviceInfo string // for application servers, from the HSS
	restoration bool   // alternative-service: the core lost the registration, and wants an initial one
}

func parseIMS(doc []byte) (imsDocument, error) {
	var d imsDocument
	root, err := parseXML(doc)
	if err != nil {
		return d, err
	}
	if root.name != "ims-3gpp" {
		return d, fmt.Errorf("%w: root is %q", errDocument, root.name)
	}
	info, err := root.one("service-info")
	if err != nil {
		return d, err
	}
	if info != nil {
		d.serviceInfo = strings.ToValidUTF8(info.text, "")
	}
	other, err := root.one("alternative-service")
	if err != nil || other == nil {
		return d, err
	}
	for _, e := range []struct{ name, text string }{{"type", "restoration"}, {"action", "initial-registration"}} {
		said, err := other.one(e.name)
		if err != nil {
			return d, err
		}
		d.restoration = d.restoration || said != nil && said.text == e.text
	}
	return d, nil
}
