package msrpsdp

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/pion/sdp/v3"

	"latchkey/msrp"
)

// ErrNotAcceptable means that an offer can't be taken, for which SIP answers 488, or that an answer refuses ours.
var ErrNotAcceptable = errors.New("offer not acceptable")

// Role says what a side has to do once offer and answer are exchanged.
type Role struct {
	Active bool      // connect; else be connected to
	Dial   string    // host:port, where Active; "" behind a relay of ours, which is connected (RFC 6135 §4.5)
	Remote msrp.Path // To-Path of requests, as the peer wrote it, whether or not its host is one
	Peer   Media     // the peer's medium that was taken, of several maybe: its Fingerprints are for Session.Trust

	// FallBack: offer again, without CEMA and with a new path (RFC 6714 §4.2); see the function FallBack. Dial is the path's place.
	FallBack bool
}

// Offer writes an offer. Setup passive is an error (RFC 6135 §4.2.1).
func Offer(l Local) ([]byte, error) {
	if l.Setup == "" {
		l.Setup = ActPass
	}
	if l.Setup != Active && l.Setup != ActPass {
		return nil, fmt.Errorf("msrp offer: setup %q (RFC 6135 §4.2.1)", l.Setup)
	}
	if l.CEMA && len(l.Relays) > 0 && l.Setup != ActPass {
		return nil, fmt.Errorf("msrp offer: setup %q with CEMA and a relay (RFC 6714 §4.2)", l.Setup)
	}
	if l.File != nil {
		if err := l.offerFile(); err != nil {
			return nil, err
		}
	}
	l = l.placed()
	m, err := write(l, l.Setup)
	if err != nil {
		return nil, err
	}
	return marshal(l, m)
}

// dial is where an active side connects: to c=/m= where CEMA is in use, since the path's host need not
// resolve (RFC 6714 §4.2, TS 24.247 §8.3.1); else to the peer's last hop towards us, the first URI of its
// path (RFC 4975 §8.1). "": that side can't be connected to, as a WebSocket client can't.
func (m Media) dial(cema bool) string {
	if m.WebSocket() {
		return ""
	}
	host, port := m.Addr, m.Port
	if !cema {
		u := m.Path[0]
		if host, port = strings.Trim(u.Host, "[]"), u.Port; port == 0 {
			port = 2855
		}
	}
	if host == "" || port == discard {
		return ""
	}
	return net.JoinHostPort(host, strconv.Itoa(port))
}

// answerSetup is a=setup of the answer: the offer's leaves a choice or none (RFC 6135 §4.2.2).
//
//	offer     answer
//	active    passive
//	actpass   as preferred, passive by default
//	none      passive: without a=setup the offerer connects (RFC 4975 §8.5); holdconn counts as none
//	passive   active: forbidden in an offer, but what it means is plain
func answerSetup(offered, prefer Setup) Setup {
	switch {
	case offered == Passive, offered == ActPass && prefer == Active:
		return Active
	}
	return Passive
}

// weConnect tells who connects after our offer (RFC 6135 §4.2.2): the answer decides; without a=setup the offerer does (RFC 4975 §8.5).
func weConnect(offered, answered Setup) bool { return offered == Active || answered != Active }

// Answer writes the answer to an offer and says what our side has to do. prefer is what we would
// like to be where the offerer leaves the choice (actpass). One MSRP medium is taken, of the transport that l has (by WebSocket, where the path says so), a chat or what l.File
// says; other media are refused with port 0 (RFC 3264 §6). ErrNotAcceptable: refuse the offer with 488.
//
// CEMA (RFC 6714 §4.3) is used where the offer says so, unless relays forbid it. Without it, an offer whose c=/m= and path
// differ came through a middlebox that changed c=/m= alone, so the path can't be trusted:
//
//	offer     c=/m= and path   answer
//	cema      equal            cema; connect to c=/m=
//	cema      different        cema; connect to c=/m=, never to the path
//	no cema   equal            no cema; connect to the path, which is c=/m=
//	no cema   different        ErrNotAcceptable, unless m= has port 9 and the offerer is the one to connect
func Answer(offer []byte, l Local, prefer Setup) ([]byte, Role, error) {
	refuse := func(format string, args ...any) ([]byte, Role, error) {
		return nil, Role{}, fmt.Errorf("%w: %w", ErrNotAcceptable, fmt.Errorf(format, args...))
	}
	d, all, err := parse(offer)
	if err != nil {
		return refuse("%w", err)
	}
	i := slices.IndexFunc(all, func(c candidate) bool {
		return c.err == nil && c.Port != 0 && c.TLS == l.TLS && c.WebSocket() == l.webSocket() && c.carries(l.File)
	})
	if i < 0 {
		if err := all[0].err; err != nil {
			return refuse("%w", err)
		}
		return refuse("no MSRP over %s that is on", transportName(l.TLS, l.webSocket()))
	}
	m := all[i]
	if !m.CEMA && m.rewritten() {
		return refuse("c=/m= and a=path differ without msrp-cema")
	}
	relayed := len(l.Relays) > 0
	l.CEMA = m.CEMA && !m.answersPlainly(relayed)
	role := Role{Remote: m.Path, Peer: m.Media}
	setup := answerSetup(m.Setup, prefer)
	if relayed && l.CEMA {
		setup = Passive // RFC 6714 §4.3
	}
	dial := m.dial(l.CEMA)
	if !m.CEMA && !m.agrees() {
		dial = ""
	}
	if setup == Active && dial == "" && !relayed {
		if m.Setup == Passive {
			return refuse("the offerer is passive and has no address")
		}
		setup = Passive
	}
	if setup == Active {
		if role.Active = true; !relayed {
			role.Dial = dial
		}
	}
	l.Direction = direction(m.Direction, l.Direction)
	if l.File != nil {
		if err := l.answerFile(*m.File); err != nil {
			return refuse("%w", err)
		}
	}
	l = l.placed()
	own, err := write(l, setup)
	if err != nil {
		return nil, Role{}, err
	}
	media := make([]*sdp.MediaDescription, len(d.MediaDescriptions))
	for j, md := range d.MediaDescriptions {
		if media[j] = own; j != m.index {
			media[j] = refused(md)
		}
	}
	answer, err := marshal(l, media...)
	return answer, role, err
}

// carries reports whether the medium is what our side is about: a chat, or a file.
func (m Media) carries(f *File) bool {
	if m.File == nil || !m.File.Selects() {
		return f == nil
	}
	return f != nil && (f.TransferID == "" || f.TransferID == m.File.TransferID)
}

// refused is a medium with port 0. A file's selector and id are as they came (RFC 5547 §8.3).
func refused(offered *sdp.MediaDescription) *sdp.MediaDescription {
	m := &sdp.MediaDescription{MediaName: offered.MediaName}
	m.MediaName.Port = sdp.RangedPort{}
	for _, a := range offered.Attributes {
		if key := strings.ToLower(a.Key); key == "file-selector" || key == "file-transfer-id" {
			m.Attributes = append(m.Attributes, sdp.Attribute{Key: key, Value: a.Value})
		}
	}
	return m
}

// webSocket reports whether the peer is to connect to us by WebSocket.
func (l Local) webSocket() bool { return len(l.Relays) == 0 && l.URI.Transport == webSocket }

func transportName(tls, web bool) string {
	if web {
		return protoName(tls) + " by WebSocket"
	}
	return protoName(tls)
}

func protoName(tls bool) string {
	if tls {
		return "TCP/TLS/MSRP"
	}
	return "TCP/MSRP"
}

// direction is that of the answer: what we want, no more than the offer has for us (RFC 3264 §6.1, RFC 4975 §8.9).
func direction(offered, own string) string {
	send := offered != "sendonly" && offered != "inactive" && own != "recvonly" && own != "inactive"
	receive := offered != "recvonly" && offered != "inactive" && own != "sendonly" && own != "inactive"
	switch {
	case send && receive:
		return "sendrecv"
	case send:
		return "sendonly"
	case receive:
		return "recvonly"
	}
	return "inactive"
}

// Conclude reads the answer to an offer of ours and says what our side has to do. ErrNotAcceptable: the answer
// refuses the medium (port 0), changes its transport, is about another file or another part of it, or leaves no place
// to connect to. An answer to a file without Media.File is of a peer that takes it for a chat.
func Conclude(offer, answer []byte) (Role, Media, error) {
	ours, err := Parse(offer)
	if err != nil {
		return Role{}, Media{}, err
	}
	m, err := Parse(answer)
	switch {
	case err != nil:
		return Role{}, Media{}, err
	case m.Port == 0:
		return Role{}, m, fmt.Errorf("%w: the answer has port 0", ErrNotAcceptable)
	case m.TLS != ours.TLS || m.WebSocket() != ours.WebSocket():
		return Role{}, m, fmt.Errorf("%w: the answer changes the transport", ErrNotAcceptable)
	}
	if err := concludeFile(ours.File, m.File); err != nil {
		return Role{}, m, err
	}
	relayed := len(ours.Path) > 1
	role := Role{Active: weConnect(ours.Setup, m.Setup), Remote: m.Path, Peer: m}
	role.FallBack = ours.CEMA && FallBack(m, role.Active, relayed)
	if role.Active && !relayed {
		// RFC 6714 §4.2: unless it falls back, our CEMA connects to c=/m=, also where the peer has none.
		if role.Dial = m.dial(ours.CEMA && (m.CEMA || m.rewritten() && !role.FallBack)); role.Dial == "" {
			return Role{}, m, fmt.Errorf("%w: the answer has no address to connect to", ErrNotAcceptable)
		}
	}
	return role, m, nil
}
