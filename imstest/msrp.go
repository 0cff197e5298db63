package imstest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// frame is one MSRP request or response, its body whole.
type frame struct {
	tid, method string
	status      int
	fields      []Field
	body        []byte
	hasBody     bool
	flag        byte
}

func (f *frame) get(name string) string {
	for _, h := range f.fields {
		if h.Name == name {
			return h.Value
		}
	}
	return ""
}

func (f *frame) bytes() []byte {
	var b bytes.Buffer
	what := f.method
	switch {
	case what == "" && f.status == 200:
		what = "200 OK"
	case what == "":
		what = fmt.Sprintf("%d Refused", f.status)
	}
	fmt.Fprintf(&b, "MSRP %s %s\r\n", f.tid, what)
	for _, h := range f.fields {
		fmt.Fprintf(&b, "%s: %s\r\n", h.Name, h.Value)
	}
	if f.hasBody {
		b.WriteString("\r\n")
		b.Write(f.body)
		b.WriteString("\r\n")
	}
	fmt.Fprintf(&b, "-------%s%c\r\n", f.tid, f.flag)
	return b.Bytes()
}

var errMSRP = errors.New("not an MSRP message")

// readFrame reads line by line, which is plain. The body takes the room of one that nobody needs any more; nil: there is none.
func readFrame(r *bufio.Reader, body []byte) (*frame, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return nil, err
	}
	p := strings.SplitN(strings.TrimRight(line, "\r\n"), " ", 3)
	if len(p) < 3 || p[0] != "MSRP" {
		return nil, fmt.Errorf("%w: %.60q", errMSRP, line)
	}
	f := &frame{tid: p[1]}
	if code, err := strconv.Atoi(p[2]); err == nil && len(p[2]) == 3 {
		f.status = code
	} else if code, err := strconv.Atoi(strings.SplitN(p[2], " ", 2)[0]); err == nil {
		f.status = code
	} else {
		f.method = p[2]
	}
	end := []byte("-------" + f.tid)
	isEnd := func(l []byte) bool {
		return bytes.HasPrefix(l, end) && len(l) == len(end)+3 && strings.ContainsRune("$+#", rune(l[len(end)])) && bytes.HasSuffix(l, []byte("\r\n"))
	}
	for {
		l, err := r.ReadBytes('\n')
		if err != nil {
			return nil, err
		}
		if isEnd(l) {
			f.flag = l[len(end)]
			return f, nil
		}
		s := strings.TrimRight(string(l), "\r\n")
		if s == "" {
			break
		}
		name, value, _ := strings.Cut(s, ":")
		f.fields = append(f.fields, Field{name, strings.TrimSpace(value)})
	}
	f.hasBody, f.body = true, body[:0]
	for fresh := true; ; { // fresh: a line begins
		l, err := r.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return nil, err
		}
		if fresh && isEnd(l) && (len(f.body) == 0 || bytes.HasSuffix(f.body, []byte("\r\n"))) {
			f.flag = l[len(end)]
			f.body = bytes.TrimSuffix(f.body, []byte("\r\n"))
			return f, nil
		}
		fresh = err == nil
		f.body = append(f.body, l...)
		if len(f.body) > 64<<20 {
			return nil, errors.New("msrp: body too large for the test peer")
		}
	}
}
