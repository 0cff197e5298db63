package guest

import (
	"context"
	"strings"
	"testing"

	"latchkey"
)

// related is a store of which only the live relations are used: who has invited each account.
type related struct {
	Store
	by map[latchkey.AccountID]latchkey.InviterID
}

func (s related) Relations(_ context.Context, id latchkey.AccountID) ([]latchkey.Relation, error) {
	if inviter := s.by[id]; inviter != "" {
		return []latchkey.Relation{{Account: id, Inviter: inviter}}, nil
	}
	return nil, nil
}

func calledDesk(scheme Scheme) *Desk {
	s := related{by: map[latchkey.AccountID]latchkey.InviterID{
		"sip:known_at_cc.com@guest.example": "sip:c@cc.com", "sip:+8613900000002@guest.example": "sip:c@cc.com", "sip:mine_at_cc.com@guest.example": "sip:a@cc.com",
	}}
	return New(s, subscribers{"sip:d@cc.com": true}, nil, nil, Options{Domain: "guest.example", PublicURL: "http://x", Scheme: scheme})
}

// R1, R31: whom a phone means, in each form that phones write; what names nobody, a user, or a stranger's guest.
func TestCalleeOfEachForm(t *testing.T) {
	for _, c := range []struct {
		scheme Scheme
		names  string
		want   string
		kind   latchkey.Kind
	}{
		{names: "tel:+86-139-0000-0001", want: "+8613900000001"},
		{names: "sip:+8613900000001@cc.com;user=phone", want: "+8613900000001"},
		{names: "sip:+8613900000001@guest.example", want: "+8613900000001"},
		{names: "sip:b_at_cc.com@guest.example", want: "b@cc.com"},
		{names: "sip:b_at_home_at_cc.com@cc.com", want: "b_at_home@cc.com"},
		{names: "sip:b%40cc.com@cc.com", want: "b@cc.com"},
		{names: "sip:b%2Btag%40cc.com@guest.example;user=ip", want: "b+tag@cc.com"},
		{names: "sip:b_at_cc.com@127.0.0.1:5080 sip:c_at_cc.com@guest.example", want: "c@cc.com"}, // a contact, then To
		{names: "sip:b@mail.example", kind: latchkey.KindNoRelation},
		{scheme: Identical, names: "sip:b@mail.example", want: "b@mail.example"},
		{scheme: Identical, names: "sip:g1@guest.example", kind: latchkey.KindNoRelation},
		{names: "sip:_at_@guest.example", kind: latchkey.KindNoRelation},
		{names: "sip:guest.example", kind: latchkey.KindNoRelation},
		{names: "sip:b\r\nX@y nonsense", kind: latchkey.KindNoRelation},
		{names: "", kind: latchkey.KindNoRelation},
		{names: "sip:d@cc.com", kind: latchkey.KindOffline},
		// Others' under its own URI: who calls it without a relation is a stranger, whatever else the request says. As a number it is a
		// person whom anybody may invite.
		{names: "sip:known_at_cc.com@guest.example tel:+8613900000001", kind: latchkey.KindNoRelation},
		{names: "sip:known_at_cc.com@127.0.0.1:5080 sip:known_at_cc.com@guest.example", kind: latchkey.KindNoRelation},
		{names: "sip:mine_at_cc.com@guest.example", want: "mine@cc.com"}, // the relation was made since
		{names: "sip:known%40cc.com@guest.example", want: "known@cc.com"},
		{names: "sip:+8613900000002@guest.example", kind: latchkey.KindNoRelation},
		{names: "sip:+8613900000002@guest.example;user=phone", want: "+8613900000002"},
	} {
		id, err := calledDesk(c.scheme).Callee(t.Context(), "sip:a@cc.com", strings.Split(c.names, " "))
		if c.want != id.Value || c.want == "" && !latchkey.Is(err, c.kind) || c.want != "" && err != nil {
			t.Errorf("%s Callee(%q) = %q, %v, want %q, %v", c.scheme, c.names, id, err, c.want, c.kind)
		}
	}
}

// R1: the account that is made of an identifier is read back as that identifier, and nobody else's URI is.
func FuzzCallee(f *testing.F) {
	for _, s := range []string{"b@cc.com", "b_at_x@cc.com", "+8613800000000", "o'neil+tag@cc.com", "sip:b%40cc.com@x.example", "sip:_at_cc.com@guest.example", "ü@bücher.example"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, scheme := range []Scheme{Mapped, Identical} {
			d := calledDesk(scheme)
			if id, err := latchkey.ParseIdentifier(s); err == nil {
				if name, ok := d.nameFor(id); ok {
					if got, ok := d.identify(name.Address()); !ok || got != id {
						t.Errorf("%s: %s stands for %v, %v, and was made of %v", scheme, name, got, ok, id)
					}
				}
			}
			if id, err := d.Callee(t.Context(), "sip:a@cc.com", []string{s}); err == nil {
				if again, err := latchkey.ParseIdentifier(id.Value); err != nil || again != id {
					t.Errorf("Callee(%q) = %v, read again: %v, %v", s, id, again, err)
				}
			}
		}
	})
}

// R1, RFC 3261 §20.3: the inviter's language, where it is one of ours.
func TestAnnouncementIsInTheInvitersLanguage(t *testing.T) {
	id := identifier(t, "100%s@cc.com")
	for languages, want := range map[string]string{
		"": "is not a user here yet", "tlh": "is not a user here yet", "de": "Einladung", "DE-at;q=0.3, fr;q=0.8": "invitation est en route",
		"de;q=0, en": "is not a user here yet", "*;q=0.1, es": "invitaci\u00f3n", "zh-Hans-CN": "\u9080\u8bf7", ";;q=x,,": "is not a user here yet",
	} {
		if text := Announcement(languages, id); !strings.Contains(text, want) || !strings.HasPrefix(text, "100%s@cc.com ") {
			t.Errorf("Announcement(%q) = %q, want %q in it", languages, text, want)
		}
	}
}

// R1: the first of the asserted who is a registered user turns to whom the call names; a stranger, or nobody, turns to nobody.
func TestIntroductionIsARegisteredUsers(t *testing.T) {
	d := calledDesk("")
	i, err := d.Introduction(t.Context(), []string{"no uri", "sip:x@cc.com", "sip:d@cc.com"}, []string{"sip:b_at_cc.com@guest.example"})
	if err != nil || i == nil || i.Inviter.URI.String() != "sip:d@cc.com" || i.Identifier.Value != "b@cc.com" {
		t.Errorf("Introduction = %+v, %v", i, err)
	}
	if i, err := d.Introduction(t.Context(), []string{"sip:x@cc.com"}, []string{"sip:b_at_cc.com@guest.example"}); i != nil || err != nil {
		t.Errorf("a stranger's = %+v, %v", i, err)
	}
	if i, err := d.Introduction(t.Context(), []string{"sip:d@cc.com"}, []string{"sip:bob@cc.com"}); i != nil || !latchkey.Is(err, latchkey.KindNoRelation) {
		t.Errorf("to nobody = %+v, %v", i, err)
	}
}
