package cpim

import (
	"fmt"
	"strings"
)

// FileResume tells a phone how far its upload has come, and where it goes on (RCC.07, file transfer over HTTP (unverified); PROTOCOLS B3.13).
type FileResume struct {
	Start, End int64  // of the octets that are here, both inclusive, the first octet being 0
	URL        string // takes the rest by PUT
}

// XML writes the document. Elements have end tags of their own: rust-rcs-client (720b42fa) passes over what follows one that has none.
func (r FileResume) XML() []byte {
	var b strings.Builder
	b.WriteString("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n<file-resume-info>\r\n")
	fmt.Fprintf(&b, "<file-range start=\"%d\" end=\"%d\"></file-range>\r\n<data url=\"%s\"></data>\r\n</file-resume-info>\r\n", r.Start, r.End, xmlText(r.URL))
	return []byte(b.String())
}
