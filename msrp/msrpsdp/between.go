package msrpsdp

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"latchkey/msrp"
)

// Medium is an MSRP medium and its place among all media of a description.
type Medium struct {
	Media
	Index int
	Err   error // why it can't be read, such as a missing path
}

// All reads the MSRP media of a description, those with port 0 included. There may be none.
func All(body []byte) ([]Medium, error) {
	d, err := unmarshal(body)
	if err != nil {
		return nil, err
	}
	var all []Medium
	for _, c := range candidates(d) {
		all = append(all, Medium{c.Media, c.index, c.err})
	}
	return all, nil
}

// Place is where somebody between two peers, as an anchor is, has its leg towards one of them.
type Place struct {
	Addr        string // of c=
	Port        int    // of m=; 0: the medium is off, and the rest doesn't count
	URI         msrp.URI
	Setup       Setup
	CEMA        bool
	TLS         bool
	Fingerprint msrp.Fingerprint
}

// Answering completes a place that stands in the answer to an offered medium, and says what the leg there has to do. It listens if
// listens is true and the offerer may connect; the rules are those of Answer.
func (p Place) Answering(m Media, listens bool) (Place, Role, error) {
	if !m.CEMA && m.rewritten() {
		return p, Role{}, fmt.Errorf("%w: c=/m= and a=path differ without msrp-cema", ErrNotAcceptable)
	}
	prefer := Passive
	if !listens {
		prefer = Active
	}
	p.Setup, p.CEMA, p.TLS = answerSetup(m.Setup, prefer), m.CEMA && !m.answersPlainly(false), m.TLS
	role := Role{Remote: m.Path, Peer: m}
	switch {
	case p.Setup == Passive && !listens:
		return p, Role{}, fmt.Errorf("%w: the offerer wants to connect, and nobody listens by %s", ErrNotAcceptable, protoName(m.TLS))
	case p.Setup == Active:
		role.Active, role.Dial = true, m.dial(p.CEMA)
		if role.Dial == "" {
			return p, Role{}, fmt.Errorf("%w: the offerer has no address", ErrNotAcceptable)
		}
		if !listens {
			p.Port = discard
		}
	}
	return p, role, nil
}

// Concluding says what the leg at a place that was offered has to do after the answer. The rules are those of Conclude.
func (p Place) Concluding(m Media) (Role, error) {
	if m.TLS != p.TLS || m.WebSocket() != (p.URI.Transport == webSocket) {
		return Role{}, fmt.Errorf("%w: the answer changes the transport", ErrNotAcceptable)
	}
	role := Role{Active: weConnect(p.Setup, m.Setup), Remote: m.Path, Peer: m}
	if role.Active {
		if role.Dial = m.dial(p.CEMA && (m.CEMA || m.rewritten())); role.Dial == "" {
			return Role{}, fmt.Errorf("%w: the answer has no address to connect to", ErrNotAcceptable)
		}
	}
	return role, nil
}

// Relocate writes a description in which the media of those indices are at other places. Everything else stays as it is, other media and
// attributes that nobody knows included; but the o= line names the host too, since it is the other side's address (RFC 8866 §5.2).
func Relocate(body []byte, places map[int]Place, host string) ([]byte, error) {
	for _, p := range places {
		if strings.ContainsAny(p.Addr+host, "\r\n \x00") || p.Port != 0 && (p.URI.SessionID == "" || p.Addr == "") {
			return nil, errors.New("msrp sdp: a place without an address")
		}
	}
	var out bytes.Buffer
	line := func(format string, args ...any) { fmt.Fprintf(&out, format+"\r\n", args...) }
	index, connection := -1, ""
	place, moved := Place{}, false
	flush := func() {
		if connection != "" {
			line("%s", connection)
			connection = ""
		}
	}
	finish := func() {
		flush()
		if moved && place.Port != 0 {
			line("a=setup:%s", place.Setup)
			line("a=path:%s", msrp.Path{place.URI})
			if place.CEMA {
				line("a=msrp-cema")
			}
			if place.TLS && !place.Fingerprint.IsZero() {
				line("a=fingerprint:%s", place.Fingerprint)
			}
		}
	}
	for raw := range bytes.Lines(body) {
		l := strings.TrimRight(string(raw), "\r\n")
		switch {
		case l == "":
			continue
		case len(l) < 2 || l[1] != '=' || strings.ContainsAny(l, "\r\x00"):
			return nil, fmt.Errorf("msrp sdp: %.40q is no line", l)
		case strings.HasPrefix(l, "o="):
			if f := strings.Fields(l); len(f) == 6 && host != "" {
				l = strings.Join(append(f[:4:4], family(host), strings.Trim(host, "[]")), " ")
			}
		case strings.HasPrefix(l, "m="):
			finish()
			index++
			if place, moved = places[index]; moved {
				f := strings.Fields(l)
				if len(f) < 3 {
					return nil, errors.New("msrp sdp: an m= line without transport")
				}
				f[1] = strconv.Itoa(place.Port)
				if place.Port != 0 {
					f[2] = protoName(place.TLS)
				}
				line("%s", strings.Join(f, " "))
				connection = "c=IN " + family(place.Addr) + " " + strings.Trim(place.Addr, "[]")
				continue
			}
		case moved && strings.HasPrefix(l, "i="):
		case moved && (strings.HasPrefix(l, "c=") || placed(l)):
			continue
		case moved:
			flush()
		}
		line("%s", l)
	}
	finish()
	return out.Bytes(), nil
}

// Later counts the version of a description n on, as a description must that changes something which its writer knows nothing of (RFC 3264 §8).
func Later(body []byte, n uint64) []byte {
	if n == 0 {
		return body
	}
	var out bytes.Buffer
	for raw := range bytes.Lines(body) {
		l := string(raw)
		if f := strings.Fields(l); strings.HasPrefix(l, "o=") && len(f) == 6 {
			if v, err := strconv.ParseUint(f[2], 10, 63); err == nil {
				f[2] = strconv.FormatUint(v+n, 10)
				l = strings.Join(f, " ") + "\r\n"
			}
		}
		out.WriteString(l)
	}
	return out.Bytes()
}

// placed reports whether an attribute is about where its medium is.
func placed(line string) bool {
	name, ok := strings.CutPrefix(line, "a=")
	name, _, _ = strings.Cut(name, ":")
	return ok && slices.Contains([]string{"path", "setup", "msrp-cema", "fingerprint", "connection"}, strings.ToLower(strings.TrimSpace(name)))
}

func family(addr string) string {
	if ip := net.ParseIP(strings.Trim(addr, "[]")); ip != nil && ip.To4() == nil {
		return "IP6"
	}
	return "IP4"
}
