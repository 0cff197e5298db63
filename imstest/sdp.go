package imstest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
)

var (
	acceptTypes  = []string{"message/cpim", "application/im-iscomposing+xml"}
	wrappedTypes = []string{"text/plain", "message/imdn+xml", "application/im-iscomposing+xml", fileDocument}
)

// sdp writes the phone's session description (PROTOCOLS B3.05).
func (p *Phone) sdp(ep *endpoint, setup string) []byte {
	manner := p.mannered()
	host, port, _ := net.SplitHostPort(ep.ln.Addr().String())
	if local := ep.scheme() + manner.Path + "/" + ep.id + ";tcp"; manner.Path != "" && ep.local != local { // later it is read while messages come
		ep.local = local
	}
	if manner.DiscardPort && setup == "active" {
		port = "9"
	}
	if manner.NoMedia {
		port = "0"
	}
	family, transport := "IP4", "TCP/MSRP"
	if strings.Contains(host, ":") {
		family = "IP6"
	}
	if ep.tls {
		transport = "TCP/TLS/MSRP"
	}
	if ep.file != nil {
		return ep.file.sdp(ep, host, port, family, transport, setup, manner)
	}
	wrapped := wrappedTypes
	if manner.NoWrappedIMDN {
		wrapped = []string{"text/plain"}
	}
	s := fmt.Sprintf("v=0\r\no=- %d %d IN %s %s\r\ns=-\r\nc=IN %s %s\r\nt=0 0\r\nm=message %s %s *\r\n"+
		"a=accept-types:%s\r\na=accept-wrapped-types:%s\r\na=setup:%s\r\na=path:%s\r\na=sendrecv\r\n",
		ep.born.Unix(), ep.born.UnixMicro(), family, host, family, host, port, transport, strings.Join(acceptTypes, " "), strings.Join(wrapped, " "), setup, ep.local)
	if manner.MaxSize > 0 {
		s += fmt.Sprintf("a=max-size:%d\r\n", manner.MaxSize)
	}
	if !manner.NoCEMA {
		s += "a=msrp-cema\r\n"
	}
	if ep.tls {
		s += p.fingerprintLine()
	}
	return []byte(s)
}

// remoteMedia is the peer's MSRP media description.
type remoteMedia struct {
	host, port     string // c= and m=
	path, setup    string
	cema           bool
	tls            bool
	prints         []string // a=fingerprint
	types, wrapped []string
	maxSize        int64
	direction      string
	file           *fileLines // nil: no a=file-selector
}

// addr is where to connect: c= and m= where both sides speak CEMA (RFC 6714 §4.2), else the path's first URI (RFC 4975 §8.1).
func (r remoteMedia) addr(cema bool) string {
	if r.cema && cema {
		return net.JoinHostPort(r.host, r.port)
	}
	return authority(r.path)
}

// authority is host:port of the first URI of a path.
func authority(path string) string {
	if parts := strings.Split(path, "/"); len(parts) > 2 {
		a := parts[2]
		return a[strings.LastIndexByte(a, '@')+1:]
	}
	return ""
}

// takes reports whether the peer listed a type for CPIM bodies or, unwrapped, for messages.
func (r remoteMedia) takes(contentType string) bool {
	return slices.Contains(r.types, contentType) || slices.Contains(r.types, "*")
}

// readSDP reads the first MSRP media of a description.
func readSDP(b []byte) (remoteMedia, error) {
	var r remoteMedia
	session, media, mine := "", "", false
	count := 0
	for l := range strings.SplitSeq(string(b), "\n") {
		l = strings.TrimRight(l, "\r")
		if strings.HasPrefix(l, "m=") {
			f := strings.Fields(l[2:])
			mine = len(f) >= 3 && f[0] == "message" && (f[2] == "TCP/MSRP" || f[2] == "TCP/TLS/MSRP")
			if mine {
				if count++; count > 1 {
					mine = false
					continue
				}
				r.port, r.tls = f[1], f[2] == "TCP/TLS/MSRP"
			}
			continue
		}
		if addr, ok := strings.CutPrefix(strings.Replace(l, "c=IN IP6 ", "c=IN IP4 ", 1), "c=IN IP4 "); ok {
			if count == 0 {
				session = addr
			} else if mine {
				media = addr
			}
		}
		if !mine {
			continue
		}
		name, value, _ := strings.Cut(strings.TrimPrefix(l, "a="), ":")
		value = strings.TrimSpace(value)
		switch name {
		case "path":
			r.path = value
		case "setup":
			r.setup = value
		case "fingerprint":
			r.prints = append(r.prints, value)
		case "msrp-cema":
			r.cema = true
		case "accept-types":
			r.types = strings.Fields(value)
		case "accept-wrapped-types":
			r.wrapped = strings.Fields(value)
		case "max-size":
			r.maxSize, _ = strconv.ParseInt(value, 10, 64)
		case "sendrecv", "sendonly", "recvonly", "inactive":
			r.direction = name
		}
		r.readFile(name, value)
	}
	if r.host = media; r.host == "" {
		r.host = session
	}
	if r.path == "" || r.port == "" || r.port == "0" {
		return r, errors.New("no msrp media in the session description")
	}
	return r, nil
}

// checkSDP notes what an RCS peer's description lacks (PROTOCOLS B3.05, B4.05, B5.06).
func (p *Phone) checkSDP(what string, r remoteMedia, body []byte) {
	wrong := func(format string, args ...any) { p.violation(what+": "+format, args...) }
	if len(r.types) == 0 {
		wrong("no a=accept-types (RFC 4975 §8.6)")
	} else if !r.takes("message/cpim") {
		wrong("a=accept-types without message/cpim: %q", r.types)
	}
	if len(r.wrapped) > 0 && !slices.Contains(r.wrapped, "message/imdn+xml") && !slices.Contains(r.wrapped, "*") {
		wrong("a=accept-wrapped-types without message/imdn+xml (PROTOCOLS B5.06): %q", r.wrapped)
	}
	for u := range strings.FieldsSeq(r.path) {
		if _, _, err := net.SplitHostPort(authority(u)); err != nil {
			wrong("a=path without a port: %q (RFC 4975 §8.2)", u)
		}
		if scheme := map[bool]string{false: "msrp://", true: "msrps://"}[r.tls]; !strings.HasSuffix(u, ";tcp") || !strings.HasPrefix(u, scheme) {
			wrong("a=path %q is not %s over tcp (RFC 4975 §6)", u, scheme)
		}
		if id := u[strings.LastIndexByte(u, '/')+1:]; len(strings.TrimSuffix(id, ";tcp")) < 14 {
			wrong("session-id of %q can be guessed (RFC 4975 §14.1)", u)
		}
	}
	p.checkTLS(what, r)
	if bytes.Contains(body, []byte("a=connection:")) {
		wrong("a=connection (RFC 6135 §4.4)")
	}
	if !bytes.HasPrefix(body, []byte("v=0\r\no=")) || !bytes.Contains(body, []byte("\r\nt=")) || !bytes.Contains(body, []byte("\r\ns=")) {
		wrong("v=, o=, s= or t= are missing or misplaced (RFC 8866 §5)")
	}
	// RFC 6714 §4.3: without CEMA, c= and m= are the path's.
	if !r.cema && r.port != "9" && authority(r.path) != net.JoinHostPort(r.host, r.port) {
		wrong("c= and m= name %s:%s, a=path %s, without msrp-cema", r.host, r.port, authority(r.path))
	}
}

// bodies divides the body of a request into its session description and a first message (PROTOCOLS B3.04).
func (m *Message) bodies() (sdp, cpim []byte, err error) {
	t, params, err := mime.ParseMediaType(m.Get("Content-Type"))
	if err != nil {
		return nil, nil, fmt.Errorf("content type %q: %w", m.Get("Content-Type"), err)
	}
	if t == "application/sdp" {
		return m.Body, nil, nil
	}
	if t != "multipart/mixed" && !(t == "multipart/related" && params["type"] == "application/sdp") {
		return nil, nil, fmt.Errorf("content type %q", t)
	}
	r := multipart.NewReader(bytes.NewReader(m.Body), params["boundary"])
	for {
		part, err := r.NextPart()
		if err == io.EOF {
			return sdp, cpim, nil
		}
		if err != nil {
			return nil, nil, err
		}
		b, err := io.ReadAll(part)
		if err != nil {
			return nil, nil, err
		}
		switch pt, _, _ := mime.ParseMediaType(part.Header.Get("Content-Type")); pt {
		case "application/sdp":
			sdp = b
		case "message/cpim":
			cpim = b
		}
	}
}

func mediaType(v string) string {
	t, _, _ := strings.Cut(v, ";")
	return strings.ToLower(strings.TrimSpace(t))
}

// dateTime is a time as CPIM and IMDN write it (RFC 3339).
func dateTime() string { return time.Now().UTC().Format("2006-01-02T15:04:05Z") }
