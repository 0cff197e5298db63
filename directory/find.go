package directory

import (
	"context"

	"latchkey"
)

// Find gives the registered user whom the identifier reaches. Nobody is KindNotFound.
func (f *File) Find(_ context.Context, id latchkey.Identifier) (latchkey.Subscriber, error) {
	s := f.now.Load()
	index := s.emails
	if id.Kind == latchkey.Tel {
		index = s.tels
	}
	if i, ok := index[id.Value]; ok {
		return s.entries[i].Subscriber, nil
	}
	return latchkey.Subscriber{}, latchkey.Errorf(latchkey.KindNotFound, "")
}

// FindURI gives the registered user whom the address names: their URI, or their number as tel: or
// under their own domain. Nobody is KindNotFound.
func (f *File) FindURI(_ context.Context, a latchkey.Address) (latchkey.Subscriber, error) {
	s := f.now.Load()
	if i, ok := s.find(a); ok {
		return s.entries[i].Subscriber, nil
	}
	return latchkey.Subscriber{}, latchkey.Errorf(latchkey.KindNotFound, "")
}

// find goes by the rule of latchkey.Relation.Names.
func (s *snapshot) find(a latchkey.Address) (int, bool) {
	if i, ok := s.uris[a.Identity()]; ok {
		return i, true
	}
	number := a.Number()
	if number == "" {
		return 0, false
	}
	// RFC 3261 §19.1.6: a number in a SIP URI is the party's only in the party's own domain.
	i, ok := s.tels[number]
	return i, ok && (a.Scheme() == "tel" || a.Host() == s.entries[i].URI.Host())
}
