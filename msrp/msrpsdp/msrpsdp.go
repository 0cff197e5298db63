// Package msrpsdp reads and writes the session descriptions of MSRP: RFC 4975 §8, RFC 6135
// (who connects) and RFC 6714 (CEMA). It knows offers and answers, not SIP.
package msrpsdp

import (
	"errors"
	"fmt"
	"net"
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

// ErrNotAcceptable means that an offer can't be taken: SIP answers 488.
var ErrNotAcceptable = errors.New("offer not acceptable")

// Local is what our side says of itself.
type Local struct {
	Addr               string // host of c=
	Port               int    // of m=
	TLS                bool
	URI                msrp.URI
	CEMA               bool
	Setup              Setup // of an offer: Active or ActPass
	AcceptTypes        []string
	AcceptWrappedTypes []string
	MaxSize            int64 // 0: not said
	Version            uint64
	Direction          string // "", sendrecv, sendonly, recvonly, inactive
}

// Media is an MSRP media description that was read.
type Media struct {
	Addr               string
	Port               int
	TLS                bool
	Path               msrp.Path
	Setup              Setup // "": not said
	CEMA               bool
	AcceptTypes        []string
	AcceptWrappedTypes []string
	MaxSize            int64
	Direction          string
	Fingerprint        string
}

// Role says what a side has to do once offer and answer are exchanged.
type Role struct {
	Active bool
	Dial   string // host:port, where Active
	Remote msrp.Path
}

// Offer writes an offer.
func Offer(l Local) ([]byte, error) {
	if l.Setup == Passive {
		return nil, errors.New("msrp offer: setup must not be passive (RFC 6135 §4.2.1)")
	}
	return write(l, l.Setup, l.Port)
}

func write(l Local, setup Setup, port int) ([]byte, error) {
	proto := []string{"TCP", "MSRP"}
	if l.TLS {
		proto = []string{"TCP", "TLS", "MSRP"}
	}
	family := "IP4"
	if ip := net.ParseIP(l.Addr); ip != nil && ip.To4() == nil {
		family = "IP6"
	}
	if len(l.AcceptTypes) == 0 {
		return nil, errors.New("msrp sdp: accept-types is mandatory (RFC 4975 §8.6)")
	}
	m := &sdp.MediaDescription{MediaName: sdp.MediaName{
		Media: "message", Port: sdp.RangedPort{Value: port}, Protos: proto, Formats: []string{"*"},
	}}
	m.WithValueAttribute("accept-types", strings.Join(l.AcceptTypes, " "))
	if len(l.AcceptWrappedTypes) > 0 {
		m.WithValueAttribute("accept-wrapped-types", strings.Join(l.AcceptWrappedTypes, " "))
	}
	if l.MaxSize > 0 {
		m.WithValueAttribute("max-size", strconv.FormatInt(l.MaxSize, 10))
	}
	m.WithValueAttribute("setup", string(setup))
	m.WithValueAttribute("path", l.URI.String())
	if l.CEMA {
		m.WithPropertyAttribute("msrp-cema")
	}
	if l.Direction != "" {
		m.WithPropertyAttribute(l.Direction)
	} else {
		m.WithPropertyAttribute("sendrecv")
	}
	version := l.Version
	if version == 0 {
		version = 1
	}
	d := sdp.SessionDescription{
		Origin:                sdp.Origin{Username: "-", SessionID: originID(l.URI), SessionVersion: version, NetworkType: "IN", AddressType: family, UnicastAddress: l.Addr},
		SessionName:           "-",
		ConnectionInformation: &sdp.ConnectionInformation{NetworkType: "IN", AddressType: family, Address: &sdp.Address{Address: l.Addr}},
		TimeDescriptions:      []sdp.TimeDescription{{}},
	}
	d.WithMedia(m)
	return d.Marshal()
}

// originID derives the numeric o= session id from the session's own id, so that a re-offer has the same one.
func originID(u msrp.URI) uint64 {
	id := u.SessionID
	if len(id) > 15 {
		id = id[:15]
	}
	n, err := strconv.ParseUint(id, 16, 62)
	if err != nil {
		n = 1
	}
	return n
}

// Parse reads the first MSRP media description. Others are left alone.
func Parse(body []byte) (Media, error) {
	m, _, err := parse(body)
	return m, err
}

func parse(body []byte) (Media, *sdp.MediaDescription, error) {
	var d sdp.SessionDescription
	if err := d.UnmarshalString(string(body)); err != nil {
		return Media{}, nil, fmt.Errorf("sdp: %w", err)
	}
	for _, md := range d.MediaDescriptions {
		if md.MediaName.Media != "message" {
			continue
		}
		proto := strings.ToUpper(strings.Join(md.MediaName.Protos, "/"))
		if proto != "TCP/MSRP" && proto != "TCP/TLS/MSRP" {
			continue
		}
		m := Media{Port: md.MediaName.Port.Value, TLS: proto == "TCP/TLS/MSRP"}
		c := md.ConnectionInformation
		if c == nil {
			c = d.ConnectionInformation
		}
		if c != nil && c.Address != nil {
			m.Addr = c.Address.Address
		}
		return m, md, m.attributes(md)
	}
	return Media{}, nil, errors.New("sdp: no MSRP media (m=message … TCP/MSRP)")
}

func (m *Media) attributes(md *sdp.MediaDescription) error {
	for _, a := range md.Attributes {
		switch strings.ToLower(a.Key) {
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
			// RFC 6135 §4.2.1: holdconn and anything else is ignored.
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
		case "fingerprint":
			m.Fingerprint = a.Value
		case "sendrecv", "sendonly", "recvonly", "inactive":
			m.Direction = strings.ToLower(a.Key)
		}
	}
	if len(m.Path) == 0 && m.Port != 0 {
		return errors.New("sdp: a=path is missing (RFC 4975 §8.1)")
	}
	return nil
}

// agrees reports whether c=/m= and the first URI of a=path name the same place (RFC 6714 §4.3).
func (m Media) agrees() bool {
	u := m.Path[0]
	return strings.EqualFold(strings.Trim(u.Host, "[]"), m.Addr) && u.Port == m.Port
}

// dial is where an active side connects: to c=/m= where CEMA is in use, else to the peer's last
// hop towards us, the first URI of its path (RFC 4975 §8.1, RFC 6714 §4.2, TS 24.247 §8.3.1: the path's host need not resolve).
func (m Media) dial(cema bool) string {
	if cema {
		return net.JoinHostPort(m.Addr, strconv.Itoa(m.Port))
	}
	u := m.Path[0]
	port := u.Port
	if port == 0 {
		port = 2855
	}
	return net.JoinHostPort(strings.Trim(u.Host, "[]"), strconv.Itoa(port))
}

// Answer writes the answer to an offer and says what our side has to do. prefer is what we would
// like to be where the offerer leaves the choice (actpass). ErrNotAcceptable: refuse with 488.
func Answer(offer []byte, l Local, prefer Setup) ([]byte, Role, error) {
	m, _, err := parse(offer)
	if err != nil {
		return nil, Role{}, fmt.Errorf("%w: %w", ErrNotAcceptable, err)
	}
	if m.Port == 0 {
		return nil, Role{}, fmt.Errorf("%w: the media line is off", ErrNotAcceptable)
	}
	if m.TLS != l.TLS {
		return nil, Role{}, fmt.Errorf("%w: transport %s", ErrNotAcceptable, protoName(m.TLS))
	}
	// RFC 6714 §4.3: CEMA is used where the offerer says so. Without it, an offer whose c=/m= and path
	// differ comes through a middlebox that changed c=/m= only, so the path can't be trusted: 488.
	if !m.CEMA && !m.agrees() && m.Port != 9 {
		return nil, Role{}, fmt.Errorf("%w: c=/m= and a=path differ without msrp-cema", ErrNotAcceptable)
	}
	l.CEMA = m.CEMA
	setup := prefer
	switch m.Setup {
	case Active:
		setup = Passive
	case Passive: // forbidden in an offer, but what it means is plain
		setup = Active
	case "": // RFC 4975 §8.5: without a=setup the offerer connects
		setup = Passive
	case ActPass:
		if setup != Active {
			setup = Passive
		}
	}
	l.Direction = opposite(m.Direction)
	answer, err := write(l, setup, l.Port)
	if err != nil {
		return nil, Role{}, err
	}
	role := Role{Active: setup == Active, Remote: m.Path}
	if role.Active {
		role.Dial = m.dial(m.CEMA)
	}
	return answer, role, nil
}

func protoName(tls bool) string {
	if tls {
		return "TCP/TLS/MSRP"
	}
	return "TCP/MSRP"
}

func opposite(direction string) string {
	switch direction {
	case "sendonly":
		return "recvonly"
	case "recvonly":
		return "sendonly"
	}
	return direction
}

// Conclude reads the answer to an offer of ours and says what our side has to do.
func Conclude(offer, answer []byte) (Role, Media, error) {
	ours, _, err := parse(offer)
	if err != nil {
		return Role{}, Media{}, err
	}
	m, _, err := parse(answer)
	if err != nil {
		return Role{}, Media{}, err
	}
	if m.Port == 0 {
		return Role{}, m, fmt.Errorf("%w: the answer has port 0", ErrNotAcceptable)
	}
	if m.TLS != ours.TLS {
		return Role{}, m, fmt.Errorf("%w: the answer changes the transport", ErrNotAcceptable)
	}
	// RFC 6135 §4.2: the answerer chooses; without a=setup the offerer is active (RFC 4975 §8.5).
	role := Role{Active: m.Setup != Active, Remote: m.Path}
	if ours.Setup == Active {
		role.Active = true
	}
	if role.Active {
		role.Dial = m.dial(ours.CEMA && m.CEMA)
	}
	return role, m, nil
}
