// Package msrpsdp reads and writes the session descriptions of MSRP: RFC 4975 §8, RFC 6135
// (who connects), RFC 6714 (CEMA: where to) and RFC 5547 (files). It knows offers and answers, not SIP.
//
// Offer, Answer and Conclude are pure: descriptions in, descriptions and a Role out. Standing keeps what two sides have agreed on, for
// re-offers. The tables that they follow stand at Answer, FallBack, File and Change; what is implemented of each clause, and
// what isn't, is in the page of package msrp.
package msrpsdp

import (
	"errors"
	"fmt"
	"hash/fnv"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/pion/sdp/v3"

	"latchkey/msrp"
)

// Setup is the value of a=setup (RFC 4145 as RFC 6135 narrows it).
type Setup string

// Values of a=setup. An offer is never passive (RFC 6135 §4.2.1).
const (
	Active  Setup = "active"
	Passive Setup = "passive"
	ActPass Setup = "actpass"
)

// discard is the port of a side that can't be connected to (RFC 4145 §4.1).
const discard = 9

// Local is what our side says of itself.
type Local struct {
	Addr               string           // host of c=; brackets of IPv6 are taken off
	Port               int              // of m=
	TLS                bool             // TCP/TLS/MSRP; URI is a msrps one then
	Fingerprint        msrp.Fingerprint // of our certificate, with TLS
	URI                msrp.URI
	CEMA               bool     // of an offer; an answer has it where the offer does (RFC 6714 §4.3)
	Setup              Setup    // of an offer: Active, or ActPass, which is the default
	AcceptTypes        []string // mandatory (RFC 4975 §8.6)
	AcceptWrappedTypes []string // with message/cpim, message/imdn+xml is always added
	MaxSize            int64    // of a message in octets; 0: not said
	Version            uint64   // of o=; a re-offer that changes something counts on; default 1
	Direction          string   // sendrecv (default), sendonly, recvonly, inactive; an answer gives no more than the offer asks

	// Relays are ours in the order in which the peer comes through them (RFC 4976 §5.1): what msrp.RelayPath has before its own URI. With
	// CEMA, c=/m= name the first of them (RFC 6714 §4.2, §4.3).
	Relays msrp.Path
	// File is what the medium transfers (RFC 5547); nil: it is a chat. In an answer, &File{} takes what is pushed; a File
	// with selectors is what we send or want, and one with a TransferID chooses the medium of several.
	File *File

	fileLines []sdp.Attribute // of File
	origin    *sdp.Origin     // o= of a description that follows another one; see Standing
}

// Media is an MSRP media description that was read.
type Media struct {
	Addr               string // of c=
	Port               int    // of m=; 0: refused
	TLS                bool
	Path               msrp.Path
	Setup              Setup // "": not said, or nothing that is known
	CEMA               bool
	AcceptTypes        []string
	AcceptWrappedTypes []string
	MaxSize            int64              // in octets; 0: not said
	Direction          string             // "": not said, which is sendrecv
	Fingerprints       []msrp.Fingerprint // of the certificate that the side shows, with TLS: the best ones, any of which will do; nil: its name counts
	File               *File              // nil: no a=file-selector
}

// WebSocket reports whether the side is a WebSocket client, such as a browser, which nobody can connect to (RFC 7977 §5.1, §5.2.1). Behind a relay of its
// own, which is the first of its path, it is like any other.
func (m Media) WebSocket() bool { return len(m.Path) > 0 && m.Path[0].Transport == webSocket }

// webSocket is the transport in such URIs; the m-line stays that of TCP (RFC 7977 §5.2.2).
const webSocket = "ws"

// Accepts reports whether the side takes messages of a type (RFC 4975 §8.6); parameters don't count.
func (m Media) Accepts(contentType string) bool { return listed(m.AcceptTypes, contentType) }

// AcceptsWrapped reports whether the side takes a type within message/cpim or multipart.
func (m Media) AcceptsWrapped(contentType string) bool {
	return listed(m.AcceptWrappedTypes, contentType) || listed(m.AcceptTypes, contentType)
}

func listed(types []string, contentType string) bool {
	t, _, _ := strings.Cut(contentType, ";")
	t = strings.ToLower(strings.TrimSpace(t))
	major, _, _ := strings.Cut(t, "/")
	return slices.ContainsFunc(types, func(a string) bool {
		a = strings.ToLower(a)
		return a == "*" || a == t || a == major+"/*"
	})
}

// write makes the media description of our side.
func write(l Local, setup Setup) (*sdp.MediaDescription, error) {
	text := append(append([]string{l.Addr, l.Direction, l.URI.String(), l.Relays.String()}, l.AcceptTypes...), l.AcceptWrappedTypes...)
	switch {
	case slices.ContainsFunc(text, func(s string) bool { return strings.ContainsAny(s, "\r\n\x00") }):
		return nil, errors.New("msrp sdp: a line break in a value")
	case len(l.AcceptTypes) == 0:
		return nil, errors.New("msrp sdp: accept-types is mandatory (RFC 4975 §8.6)")
	case l.Port <= 0 || l.Port > 65535 || l.Addr == "":
		return nil, errors.New("msrp sdp: no address")
	case l.URI.Port == 0 || l.URI.SessionID == "":
		return nil, errors.New("msrp sdp: the path needs an explicit port and a session id (RFC 4975 §8.2)")
	case l.TLS != l.URI.Secure:
		return nil, errors.New("msrp sdp: TLS and a msrps path go together (RFC 4975 §6)")
	}
	proto := []string{"TCP", "MSRP"}
	if l.TLS {
		proto = []string{"TCP", "TLS", "MSRP"}
	}
	m := &sdp.MediaDescription{MediaName: sdp.MediaName{
		Media: "message", Port: sdp.RangedPort{Value: l.Port}, Protos: proto, Formats: []string{"*"},
	}}
	m.WithValueAttribute("accept-types", strings.Join(l.AcceptTypes, " "))
	wrapped := l.AcceptWrappedTypes
	if listed(l.AcceptTypes, "message/cpim") && !listed(wrapped, "message/imdn+xml") {
		wrapped = append(slices.Clone(wrapped), "message/imdn+xml") // without it, some application servers close the session
	}
	if len(wrapped) > 0 {
		m.WithValueAttribute("accept-wrapped-types", strings.Join(wrapped, " "))
	}
	if l.MaxSize > 0 {
		m.WithValueAttribute("max-size", strconv.FormatInt(l.MaxSize, 10))
	}
	m.WithValueAttribute("setup", string(setup)) // RFC 6135 §4.2: always there; a=connection never (§4.4)
	m.WithValueAttribute("path", append(slices.Clone(l.Relays), l.URI).String())
	if l.CEMA {
		m.WithPropertyAttribute("msrp-cema")
	}
	if l.TLS && !l.Fingerprint.IsZero() {
		m.WithValueAttribute("fingerprint", l.Fingerprint.String())
	}
	if l.Direction == "" {
		l.Direction = "sendrecv"
	}
	m.WithPropertyAttribute(l.Direction)
	m.Attributes = append(m.Attributes, l.fileLines...)
	return m, nil
}

// marshal puts media descriptions under our session's lines.
func marshal(l Local, media ...*sdp.MediaDescription) ([]byte, error) {
	addr, family := strings.Trim(l.Addr, "[]"), "IP4"
	if ip := net.ParseIP(addr); ip != nil && ip.To4() == nil {
		family = "IP6"
	}
	d := sdp.SessionDescription{
		Origin:                sdp.Origin{Username: "-", SessionID: originID(l.URI), SessionVersion: max(l.Version, 1), NetworkType: "IN", AddressType: family, UnicastAddress: addr},
		SessionName:           "-",
		ConnectionInformation: &sdp.ConnectionInformation{NetworkType: "IN", AddressType: family, Address: &sdp.Address{Address: addr}},
		TimeDescriptions:      []sdp.TimeDescription{{}},
		MediaDescriptions:     media,
	}
	if l.origin != nil {
		d.Origin = *l.origin
	}
	return d.Marshal()
}

// originID derives the numeric o= session id from the session's own id, so that a re-offer has the same one.
func originID(u msrp.URI) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(u.SessionID)) // never fails
	return h.Sum64() >> 2               // some peers read it into a signed number
}

// Parse reads the MSRP media description: the first one that is not refused, else the first. Other media are left
// alone. It is an error if there is none, or if its path can't be read (RFC 4975 §8.1).
func Parse(body []byte) (Media, error) {
	_, all, err := parse(body)
	if err != nil {
		return Media{}, err
	}
	if i := slices.IndexFunc(all, func(c candidate) bool { return c.Port != 0 && c.err == nil }); i >= 0 {
		return all[i].Media, nil
	}
	return all[0].Media, all[0].err
}

// candidate is an MSRP media description and its place among all.
type candidate struct {
	Media
	index int
	err   error
}

// parse finds all MSRP media; there is one at least.
func parse(body []byte) (*sdp.SessionDescription, []candidate, error) {
	d, err := unmarshal(body)
	if err != nil {
		return nil, nil, err
	}
	all := candidates(d)
	if len(all) == 0 {
		return nil, nil, errors.New("sdp: no MSRP media (m=message … TCP/MSRP)")
	}
	return d, all, nil
}

func unmarshal(body []byte) (*sdp.SessionDescription, error) {
	d := new(sdp.SessionDescription)
	if err := d.UnmarshalString(string(body)); err != nil {
		return nil, fmt.Errorf("sdp: %w", err)
	}
	return d, nil
}

func candidates(d *sdp.SessionDescription) (all []candidate) {
	for i, md := range d.MediaDescriptions {
		proto := strings.Join(md.MediaName.Protos, "/")
		if md.MediaName.Media != "message" || proto != "TCP/MSRP" && proto != "TCP/TLS/MSRP" {
			continue
		}
		m := Media{Port: md.MediaName.Port.Value, TLS: proto == "TCP/TLS/MSRP"}
		c := md.ConnectionInformation
		if c == nil {
			c = d.ConnectionInformation
		}
		if c != nil && c.Address != nil {
			m.Addr = strings.Trim(c.Address.Address, "[]")
		}
		m.session(d.Attributes)
		err := m.attributes(md.Attributes)
		if err == nil {
			err = m.secure(md.Attributes, d.Attributes)
		}
		all = append(all, candidate{m, i, err})
	}
	return all
}

// session takes the attributes that may stand above all media (RFC 4145 §4, RFC 8866 §6.7).
func (m *Media) session(attributes []sdp.Attribute) {
	for _, a := range attributes {
		switch strings.ToLower(a.Key) {
		case "setup", "sendrecv", "sendonly", "recvonly", "inactive":
			_ = m.attributes([]sdp.Attribute{a}) // the path is missing here
		}
	}
}

func (m *Media) attributes(attributes []sdp.Attribute) error {
	for _, a := range attributes {
		switch key := strings.ToLower(a.Key); key {
		case "path":
			p, err := msrp.ParsePath(a.Value)
			if err != nil {
				return fmt.Errorf("sdp: a=path: %w", err)
			}
			m.Path = p
		case "setup":
			switch s := Setup(strings.ToLower(strings.TrimSpace(a.Value))); s {
			case Active, Passive, ActPass:
				m.Setup = s
			}
			// RFC 6135 §4.2.1: holdconn and anything else is ignored, as is a=connection (§4.4).
		case "msrp-cema":
			m.CEMA = true
		case "accept-types":
			m.AcceptTypes = strings.Fields(a.Value)
		case "accept-wrapped-types":
			m.AcceptWrappedTypes = strings.Fields(a.Value)
		case "max-size":
			if n, err := strconv.ParseInt(strings.TrimSpace(a.Value), 10, 64); err == nil && n > 0 {
				m.MaxSize = n
			}
		case "sendrecv", "sendonly", "recvonly", "inactive":
			m.Direction = key
		}
	}
	m.File = readFile(attributes)
	if len(m.Path) == 0 && m.Port != 0 {
		return errors.New("sdp: a=path is missing (RFC 4975 §8.1)")
	}
	return nil
}
