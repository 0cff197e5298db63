package cpim

import (
	"encoding/xml"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// FileTransferType is the media type of FileTransfer.
const FileTransferType = "application/vnd.gsma.rcs-ft-http+xml"

// fileTransferSpace is the document's namespace. rcsjta (f9e1e610) has none.
const fileTransferSpace = "urn:gsma:params:xml:ns:rcs:rcs:fthttp"

// Limits of what a document may say, in octets (S16).
const (
	maxURL      = 2 << 10
	maxFileName = 1 << 10
)

// Dispositions of a file: to be kept, or to be shown at once, as a voice message is.
const (
	Attach = "attach"
	Render = "render"
)

// FileTransfer tells where a file waits on an HTTP server (RCC.07 (unverified), file transfer over HTTP; PROTOCOLS B3.13). Nothing
// here fetches: whoever does decides which hosts may be asked (S13).
type FileTransfer struct {
	File      FileInfo
	Thumbnail *FileInfo // nil: none
}

// FileInfo is a file of a FileTransfer.
type FileInfo struct {
	Size        int64
	Name        string // as its sender calls it, made safe by nobody; a thumbnail has none
	ContentType string
	URL         string    // absolute, http or https
	Until       time.Time // zero: not said, or not readable
	Disposition string    // Attach or Render; "": not said
}

// Expired reports whether the file is no longer promised to be there.
func (f FileInfo) Expired(now time.Time) bool { return !f.Until.IsZero() && !now.Before(f.Until) }

// ParseFileTransfer reads a document. What is none, has no file, or has one without a usable address or size is ErrMalformed.
func ParseFileTransfer(b []byte) (FileTransfer, error) {
	root, err := readXML(b)
	if err != nil {
		return FileTransfer{}, err
	}
	if root.name != "file" {
		return FileTransfer{}, fmt.Errorf("file transfer: root is %.40q: %w", root.name, ErrMalformed)
	}
	var t FileTransfer
	found := false
	for _, c := range root.children {
		if c.name != "file-info" || c.space != root.space {
			continue
		}
		kind, err := c.attribute("type")
		if err != nil {
			return FileTransfer{}, err
		}
		switch kind = strings.ToLower(kind); kind {
		case "", "file", "thumbnail":
		default:
			continue
		}
		f, err := fileInfo(c)
		switch {
		case err != nil:
			return FileTransfer{}, err
		case kind == "thumbnail" && t.Thumbnail == nil:
			t.Thumbnail = &f
		case kind != "thumbnail" && !found:
			t.File, found = f, true
		default:
			return FileTransfer{}, fmt.Errorf("file transfer: two of type %q: %w", kind, ErrMalformed)
		}
	}
	if !found {
		return FileTransfer{}, fmt.Errorf("file transfer: no file: %w", ErrMalformed)
	}
	return t, nil
}

func fileInfo(n *node) (f FileInfo, err error) {
	size, err := n.value("file-size")
	if err != nil {
		return f, err
	}
	if f.Size, err = strconv.ParseInt(size, 10, 64); err != nil || f.Size < 0 {
		return f, fmt.Errorf("file transfer: size %.40q: %w", size, ErrMalformed)
	}
	if f.Name, err = n.value("file-name"); err != nil {
		return f, err
	}
	if f.ContentType, err = n.value("content-type"); err != nil {
		return f, err
	}
	// The attribute is RCS's; some write an element of that name, and other things into it.
	if f.Disposition, err = n.attribute("file-disposition"); err != nil {
		return f, err
	}
	if f.Disposition == "" {
		if f.Disposition, err = n.value("file-disposition"); err != nil {
			return f, err
		}
	}
	if f.Disposition != Attach && f.Disposition != Render {
		f.Disposition = ""
	}
	for _, c := range n.children { // some servers add a second one with another attribute, for addresses of their own network
		if c.name != "data" || c.space != n.space || !c.has("url") {
			continue
		}
		if f.URL != "" {
			return f, fmt.Errorf("file transfer: two addresses: %w", ErrMalformed)
		}
		if f.URL, err = c.attribute("url"); err != nil {
			return f, err
		}
		until, err := c.attribute("until")
		if err != nil {
			return f, err
		}
		f.Until, _ = time.Parse(time.RFC3339Nano, until) // informative
	}
	if err := f.valid(); err != nil {
		return f, fmt.Errorf("file transfer: %w: %w", err, ErrMalformed)
	}
	return f, nil
}

// valid holds for what is read and for what is written.
func (f FileInfo) valid() error {
	u, err := url.Parse(f.URL)
	plain := func(s string) bool { return utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl) }
	switch {
	case err != nil || len(f.URL) > maxURL || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || !plain(f.URL) || strings.ContainsAny(f.URL, " \u00a0"):
		return fmt.Errorf("address %.80q", f.URL)
	case f.Size < 0:
		return fmt.Errorf("size %d", f.Size)
	case len(f.Name) > maxFileName || !plain(f.Name):
		return fmt.Errorf("name %.80q", f.Name)
	case len(f.ContentType) > maxFileName || !plain(f.ContentType):
		return fmt.Errorf("content type %.80q", f.ContentType)
	case f.Disposition != "" && f.Disposition != Attach && f.Disposition != Render:
		return fmt.Errorf("disposition %.40q", f.Disposition)
	}
	return nil
}

// XML writes the document, the thumbnail first, as clients do. Values can't break out of it (S8); those that ParseFileTransfer would not
// take are an error.
func (t FileTransfer) XML() ([]byte, error) {
	var b strings.Builder
	b.WriteString("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n<file xmlns=\"" + fileTransferSpace + "\">\r\n")
	write := func(kind string, f FileInfo) error {
		if err := f.valid(); err != nil {
			return fmt.Errorf("file transfer: %s: %w", kind, err)
		}
		fmt.Fprintf(&b, "<file-info type=\"%s\"", kind)
		if f.Disposition != "" {
			fmt.Fprintf(&b, " file-disposition=\"%s\"", f.Disposition)
		}
		fmt.Fprintf(&b, ">\r\n<file-size>%d</file-size>\r\n", f.Size)
		if f.Name != "" {
			fmt.Fprintf(&b, "<file-name>%s</file-name>\r\n", xmlText(f.Name))
		}
		fmt.Fprintf(&b, "<content-type>%s</content-type>\r\n<data url=\"%s\"", xmlText(f.ContentType), xmlText(f.URL))
		if !f.Until.IsZero() {
			fmt.Fprintf(&b, " until=\"%s\"", f.Until.UTC().Format("2006-01-02T15:04:05.000Z"))
		}
		b.WriteString("/>\r\n</file-info>\r\n")
		return nil
	}
	if t.Thumbnail != nil {
		if err := write("thumbnail", *t.Thumbnail); err != nil {
			return nil, err
		}
	}
	if err := write("file", t.File); err != nil {
		return nil, err
	}
	b.WriteString("</file>")
	return []byte(b.String()), nil
}

// has reports whether the element has an attribute without namespace.
func (n *node) has(name string) bool {
	for _, a := range n.attrs {
		if a.Name == (xml.Name{Local: name}) {
			return true
		}
	}
	return false
}

// attribute is the trimmed value of the only attribute called name, without namespace; "" if there is none. Two are an error (S16):
// encoding/xml lets them pass.
func (n *node) attribute(name string) (value string, err error) {
	found := false
	for _, a := range n.attrs {
		if a.Name == (xml.Name{Local: name}) {
			if found {
				return "", fmt.Errorf("xml: two attributes %s: %w", name, ErrMalformed)
			}
			value, found = strings.TrimSpace(a.Value), true
		}
	}
	return value, nil
}
