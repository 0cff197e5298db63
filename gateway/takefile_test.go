package gateway

import (
	"bufio"
	"io"
	"strings"
	"testing"
)

// B3.12: a wrapper of CPIM is read up to the file, whatever the file looks like; bytes that are none never panic, and are not read without end.
func FuzzWrapper(f *testing.F) {
	const good = "From: <sip:a@cc.com>\r\nTo: <sip:b@cc.com>\r\n\r\nContent-Type: image/png\r\nContent-Length: 3\r\n\r\n"
	f.Add(good, "abc")
	f.Add(strings.ReplaceAll(good, "\r\n", "\n"), "\r\n\r\n")
	f.Add("\r\n\r\n", "x")
	f.Add("From: <sip:a@cc.com>\r\n", "")
	f.Add(strings.Repeat("x", maxWrapper), "")
	f.Add(strings.Repeat("x: y\r\n", maxWrapper/6+1)+"\r\n\r\n", "")
	f.Add("Require: x.y\r\n\r\nContent-Type: a/b\r\n\r\n", "")
	f.Fuzz(func(t *testing.T, head, file string) {
		counted := &counter{r: strings.NewReader(head + file)}
		r := bufio.NewReaderSize(counted, maxWrapper)
		err := skipWrapper(r)
		if counted.n > 2*maxWrapper {
			t.Errorf("%d octets read for a wrapper", counted.n)
		}
		if head != good {
			return
		}
		if rest, _ := io.ReadAll(r); err != nil || string(rest) != file {
			t.Errorf("skipWrapper = %v, rest %q, want %q", err, rest, file)
		}
	})
}

type counter struct {
	r io.Reader
	n int
}

func (c *counter) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += n
	return n, err
}
