package mm7

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
	"time"
)

// Submit gives a message to the centre and returns the id that the centre gave it. An error is a *Refusal where the centre
// understood and refused; after any other the message may or may not be on its way.
func (c *Client) Submit(ctx context.Context, m Message) (string, error) {
	contentType, content, err := c.compose(m)
	if err != nil {
		return "", err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.URL, bytes.NewReader(content))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", contentType)
	req.Header.Set("SOAPAction", `""`)
	if c.User != "" {
		req.SetBasicAuth(c.User, c.Password)
	}
	client := c.HTTP
	if client == nil {
		client = http.DefaultClient
	}
	res, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	text, err := readXML(res.Header.Get("Content-Type"), res.Body)
	// A fault comes with 500 (SOAP 1.1 §6.2); other codes have nothing to say about the message.
	if res.StatusCode != http.StatusOK && res.StatusCode != http.StatusInternalServerError || err != nil {
		if err == nil || res.StatusCode/100 != 2 {
			err = fmt.Errorf("HTTP %s", res.Status)
		}
		return "", err
	}
	transaction, b, err := parse(text)
	if err != nil {
		return "", fmt.Errorf("answer: %w", err)
	}
	return answered(m, transaction, b)
}

// answered reads SubmitRsp, RSErrorRsp or a fault with one.
func answered(m Message, transaction string, b body) (string, error) {
	st := b.Status
	switch {
	case b.XMLName.Local == "Fault" && b.XMLName.Space == soapSpace:
		if len(b.Detail.Any) != 1 {
			return "", fmt.Errorf("fault: %s", b.Fault)
		}
		st = b.Detail.Any[0].Status
	case b.XMLName.Local == "RSErrorRsp":
	case b.XMLName.Local != "SubmitRsp":
		return "", fmt.Errorf("SubmitReq was answered by %s", b.XMLName.Local)
	case transaction != m.TransactionID:
		return "", fmt.Errorf("SubmitRsp is for the transaction %q", transaction)
	}
	code, err := strconv.Atoi(strings.TrimSpace(st.Code))
	if err != nil {
		return "", fmt.Errorf("%s without a status code", b.XMLName.Local)
	}
	if b.XMLName.Local != "SubmitRsp" || Code(code)/1000 != 1 {
		text := st.Text
		if st.Details != "" {
			text += ": " + st.Details
		}
		return "", &Refusal{Code(code), text}
	}
	return strings.TrimSpace(b.MessageID), nil
}

// compose writes SubmitReq (TS 23.140 §8.7.1; its elements in the schema's order) with the content attached.
func (c *Client) compose(m Message) (contentType string, content []byte, err error) {
	var x strings.Builder
	x.WriteString(`<SubmitReq xmlns="` + Space + `"><MM7Version>` + version + `</MM7Version><SenderIdentification>`)
	element := func(name, v string) {
		if v != "" {
			x.WriteString("<" + name + ">" + escaped(v) + "</" + name + ">")
		}
	}
	element("VASPID", c.VASP)
	element("VASID", c.VAS)
	if c.From != "" {
		x.WriteString("<SenderAddress>")
		if strings.HasPrefix(c.From, "+") {
			element("Number", c.From)
		} else {
			element("ShortCode", c.From)
		}
		x.WriteString("</SenderAddress>")
	}
	x.WriteString("</SenderIdentification><Recipients><To>")
	element("Number", m.To)
	x.WriteString("</To></Recipients>")
	element("MessageClass", "Personal")
	if !m.Expires.IsZero() {
		element("ExpiryDate", m.Expires.UTC().Format(time.RFC3339))
	}
	element("DeliveryReport", "true")
	element("ReadReply", "false")
	element("Priority", "Normal")
	element("Subject", m.Subject)
	x.WriteString(`<Content href="cid:content" allowAdaptations="true"/></SubmitReq>`)

	inner, innerType, err := attachments(m)
	if err != nil {
		return "", nil, err
	}
	var out bytes.Buffer
	w := multipart.NewWriter(&out)
	if err := w.SetBoundary("mm7-" + boundary(m.TransactionID)); err != nil {
		return "", nil, err
	}
	add(w, "text/xml; charset=utf-8", "<submit>", "", []byte(wrap(m.TransactionID, x.String())))
	add(w, innerType, "<content>", "", inner)
	_ = w.Close() // a Buffer takes all
	return `multipart/related; type="text/xml"; start="<submit>"; boundary="` + w.Boundary() + `"`, out.Bytes(), nil
}

// attachments are a presentation, the text and the picture.
func attachments(m Message) (content []byte, contentType string, err error) {
	var out bytes.Buffer
	w := multipart.NewWriter(&out)
	if err := w.SetBoundary("mms-" + boundary(m.TransactionID)); err != nil {
		return nil, "", err
	}
	picture, region := "", ""
	if m.Picture != nil {
		region = `<region id="Image" width="100%" height="40%" top="0%" left="0%"/>`
		picture = `<img src="cid:picture.png" region="Image"/>`
	}
	smil := `<smil><head><layout><root-layout/>` + region + `<region id="Text" width="100%" height="60%" top="40%" left="0%"/></layout></head><body><par dur="20s">` +
		picture + `<text src="cid:text.txt" region="Text"/></par></body></smil>`
	add(w, "application/smil; charset=utf-8", "<presentation.smil>", "presentation.smil", []byte(smil))
	add(w, "text/plain; charset=utf-8", "<text.txt>", "text.txt", []byte(m.Text))
	if m.Picture != nil {
		add(w, "image/png", "<picture.png>", "picture.png", m.Picture)
	}
	_ = w.Close() // a Buffer takes all
	return out.Bytes(), `multipart/related; type="application/smil"; start="<presentation.smil>"; boundary="` + w.Boundary() + `"`, nil
}

// add writes a part; a Buffer takes all.
func add(w *multipart.Writer, contentType, id, name string, content []byte) {
	h := textproto.MIMEHeader{"Content-Type": {contentType}, "Content-Id": {id}}
	if name != "" {
		h.Set("Content-Location", name)
	}
	if !strings.HasPrefix(contentType, "multipart/") && !strings.HasPrefix(contentType, "text/xml") {
		h.Set("Content-Transfer-Encoding", "base64")
		content = lines(base64.StdEncoding.EncodeToString(content))
	}
	part, _ := w.CreatePart(h)
	_, _ = part.Write(content)
}

// lines breaks base64 as RFC 2045 §6.8 wants it.
func lines(s string) []byte {
	var b bytes.Buffer
	for len(s) > 76 {
		b.WriteString(s[:76] + "\r\n")
		s = s[76:]
	}
	_, _ = io.WriteString(&b, s)
	return b.Bytes()
}

// boundary is what of a transaction's id may stand in a boundary. It is random and nobody else's, so it doesn't stand in the content.
func boundary(transaction string) string {
	b := []byte{}
	for _, c := range []byte(transaction) {
		if c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' {
			b = append(b, c)
		}
	}
	return string(b[:min(len(b), 60)])
}
