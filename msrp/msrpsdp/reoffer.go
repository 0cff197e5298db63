package msrpsdp

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/pion/sdp/v3"

	"latchkey/msrp"
)

// Change is what a further description changes. The zero Change is a refresh, of a session timer maybe, and changes nothing.
//
//	file-transfer-id   selector          Change               (RFC 5547 §8.1, figure 3)
//	other              any               Transfer
//	used before        the same file     -
//	the same           the same file     -
//	the same           another file      WrongFile
type Change struct {
	Off       bool // port 0: the session, or its file's transfer, is over (RFC 3264 §8.2, RFC 5547 §8.4)
	Path      bool // another path, place, transport or certificate: the session goes on over a new connection (RFC 4975 §5.4; F38)
	Transfer  bool // another file-transfer-id: a running transfer is aborted, a new one starts
	Terms     bool // types, size, or direction
	WrongFile bool // an error of the peer's; Standing.Answer answers it with port 0
}

// Compare tells what has changed in a side's description.
func Compare(old, now Media) Change {
	if now.Port == 0 {
		return Change{Off: old.Port != 0}
	}
	c := Change{
		Path:  !samePath(old.Path, now.Path) || old.Port != now.Port || old.Addr != now.Addr || old.TLS != now.TLS || !slices.Equal(old.Fingerprints, now.Fingerprints),
		Terms: !slices.Equal(old.AcceptTypes, now.AcceptTypes) || !slices.Equal(old.AcceptWrappedTypes, now.AcceptWrappedTypes) || old.MaxSize != now.MaxSize || direct(old) != direct(now),
	}
	switch {
	case now.File == nil || !now.File.Selects():
		c.Transfer = false
	case old.File == nil || old.File.TransferID != now.File.TransferID:
		c.Transfer = true
	case !old.File.Fits(*now.File):
		c.WrongFile = true
	}
	return c
}

// Same reports whether two descriptions of one side mean the same, so that the second is a refresh. Equal o= lines promise that
// (RFC 4975 §8.4, RFC 3264 §8); not all peers keep the promise, so it isn't asked for.
func Same(old, now []byte) bool {
	a, err := Parse(old)
	b, err2 := Parse(now)
	return err == nil && err2 == nil && Compare(a, b) == Change{}
}

func samePath(a, b msrp.Path) bool {
	return slices.EqualFunc(a, b, func(a, b msrp.URI) bool { return a.String() == b.String() })
}

func direct(m Media) string {
	if m.Direction == "" {
		return "sendrecv"
	}
	return m.Direction
}

// Standing is what the two sides of a dialog have agreed on for one MSRP medium, with which further offers are written and read. It is
// used from one goroutine, such as the loop that runs b2bua's OnReoffer.
type Standing struct {
	local     Local  // behind ours
	ours      []byte // our last description
	theirs    Media  // the peer's
	role      Role
	transfers map[string]bool // file-transfer-ids that were used (RFC 5547 §8.1)
}

// maxTransfers bounds the ids that are kept of a dialog.
const maxTransfers = 1024

// Stand begins with the first exchange: our description, offer or answer, the Local that it was written from, the peer's
// description, and the Role that came of them.
func Stand(l Local, ours, theirs []byte, role Role) (*Standing, error) {
	m, err := Parse(theirs)
	if err != nil {
		return nil, err
	}
	d, _, err := parse(ours)
	if err != nil {
		return nil, fmt.Errorf("our own: %w", err)
	}
	l.origin = &d.Origin
	s := &Standing{local: l, ours: ours, theirs: m, role: role, transfers: map[string]bool{}}
	s.used(m.File)
	s.used(l.File)
	return s, nil
}

// Local is what our last description was written from. A changed copy makes the next one.
func (s *Standing) Local() Local { return s.local }

// Media is the peer's last description, Role what came of it.
func (s *Standing) Media() Media { return s.theirs }

// Role says who connects, and where.
func (s *Standing) Role() Role { return s.role }

// Offer writes our next offer. With nothing changed it has the o= line of before, which must be so (RFC 4975 §8.4); with a
// new URI in l, say, it counts on by one (RFC 3264 §8). Conclude makes it stand.
func (s *Standing) Offer(l Local) ([]byte, error) {
	return s.next(l, func(l Local) ([]byte, error) {
		own, err := Offer(l)
		if err != nil {
			return nil, err
		}
		return s.among(own, l)
	})
}

// Off writes an offer that ends the medium: its port is 0, a file's selector and id stay (RFC 5547 §8.4).
func (s *Standing) Off() ([]byte, error) {
	d, _, err := parse(s.ours)
	if err != nil {
		return nil, err
	}
	for _, m := range d.MediaDescriptions {
		m.MediaName.Port = sdp.RangedPort{}
	}
	d.Origin.SessionVersion++
	return d.Marshal()
}

// Conclude takes the answer to Offer's offer. Change.Path says that either side has a new path, so that who is active connects
// to Role.Dial anew; without it, connection and role stay.
func (s *Standing) Conclude(l Local, offer, answer []byte) (Role, Media, Change, error) {
	role, m, err := Conclude(offer, answer)
	if err != nil {
		return Role{}, m, Change{}, err
	}
	before, err := Parse(s.ours)
	if err != nil {
		return Role{}, m, Change{}, err
	}
	now, err := Parse(offer)
	if err != nil {
		return Role{}, m, Change{}, err
	}
	c := Compare(s.theirs, m)
	own := Compare(before, now)
	c.Path, c.Transfer, c.WrongFile = c.Path || own.Path, own.Transfer, false // the answerer copies the id
	if !c.Path {
		role.Active, role.Dial = s.role.Active, s.role.Dial
	}
	return role, m, c, s.stand(l, offer, m, role)
}

// Change tells what a re-offer of the peer's is about, before it is answered: with Path, the answer is to have a new URI of ours
// that a new session has.
func (s *Standing) Change(offer []byte) (Change, error) {
	m, err := Parse(offer)
	if err != nil {
		return Change{}, fmt.Errorf("%w: %w", ErrNotAcceptable, err)
	}
	c := Compare(s.theirs, m)
	if c.Transfer && s.transfers[m.File.TransferID] {
		c.Transfer = false // RFC 5547 §8.1: used before, the session remains as it is
	}
	return c, nil
}

// Answer answers a re-offer, as Answer does. A refresh gets the description of before, o= line included, and leaves the roles as they
// are; port 0 and a file that is not the one of its id get port 0. ErrNotAcceptable: 488, and everything stands as it did.
func (s *Standing) Answer(offer []byte, l Local, prefer Setup) ([]byte, Role, Change, error) {
	c, err := s.Change(offer)
	if err != nil {
		return nil, Role{}, c, err
	}
	if !c.Path {
		prefer = Passive
		if s.role.Active {
			prefer = Active
		}
	}
	var role Role
	answer, err := s.next(l, func(l Local) (answer []byte, err error) {
		if c.Off || c.WrongFile || s.theirs.Port == 0 && c == (Change{}) {
			return allOff(offer, l)
		}
		answer, role, err = Answer(offer, l, prefer)
		return answer, err
	})
	if err != nil {
		return nil, Role{}, c, err
	}
	m, err := Parse(offer)
	if err != nil {
		return nil, Role{}, c, err
	}
	if !c.Path {
		role.Active, role.Dial = s.role.Active, s.role.Dial
	}
	return answer, role, c, s.stand(l, answer, m, role)
}

// stand makes an exchange the one that stands.
func (s *Standing) stand(l Local, ours []byte, theirs Media, role Role) error {
	d, _, err := parse(ours)
	if err != nil {
		return err
	}
	l.origin = &d.Origin
	s.local, s.ours, s.theirs, s.role = l, ours, theirs, role
	s.used(theirs.File)
	s.used(l.File)
	return nil
}

func (s *Standing) used(f *File) {
	if f != nil && f.TransferID != "" && len(s.transfers) < maxTransfers {
		s.transfers[f.TransferID] = true
	}
}

// next writes a description with our last o= line, or, if it comes out different, with the next version.
func (s *Standing) next(l Local, write func(Local) ([]byte, error)) ([]byte, error) {
	origin := *s.local.origin
	l.origin = &origin
	b, err := write(l)
	if err != nil || bytes.Equal(b, s.ours) {
		return b, err
	}
	origin.SessionVersion++
	return write(l)
}

// among puts our new medium in the place of the one before: media never go, those that were refused stay so (RFC 3264 §8).
func (s *Standing) among(own []byte, l Local) ([]byte, error) {
	d, all, err := parse(s.ours)
	if err != nil {
		return nil, err
	}
	o, mine, err := parse(own)
	if err != nil {
		return nil, err
	}
	i := max(0, slices.IndexFunc(all, func(c candidate) bool { return c.Port != 0 }))
	d.MediaDescriptions[all[i].index] = o.MediaDescriptions[mine[0].index]
	return marshal(l.placed(), d.MediaDescriptions...)
}

// allOff answers an offer with no medium.
func allOff(offer []byte, l Local) ([]byte, error) {
	d, _, err := parse(offer)
	if err != nil {
		return nil, err
	}
	media := make([]*sdp.MediaDescription, len(d.MediaDescriptions))
	for i, m := range d.MediaDescriptions {
		media[i] = refused(m)
	}
	return marshal(l.placed(), media...)
}
