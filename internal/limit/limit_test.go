package limit

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"latchkey"
)

var home = netip.MustParseAddr("192.0.2.1")

func no() (bool, error)  { return false, nil }
func yes() (bool, error) { return true, nil }

// F05, S4: the eleventh failure in a minute is told to wait, and after that may try again.
func TestEleventhFailureWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGuard(Limits{})
		for i := range 10 {
			if err := g.Try("a", home, no); !latchkey.Is(err, latchkey.KindUnauthorized) {
				t.Fatalf("try %d = %v, want unauthorized", i+1, err)
			}
			time.Sleep(time.Second)
		}
		err := g.Try("a", home, func() (bool, error) { t.Error("checked over the limit"); return true, nil })
		if !latchkey.Is(err, latchkey.KindTooManyRequests) || latchkey.RetryAfter(err) != 50*time.Second {
			t.Fatalf("11th try = %v after %v, want too many requests for 50 s", err, latchkey.RetryAfter(err))
		}
		time.Sleep(50 * time.Second)
		if err := g.Try("a", home, yes); err != nil {
			t.Fatalf("try after the wait = %v", err)
		}
	})
}

// S4: many names from one place, one name from many places.
func TestGuessesOverNamesAndPlacesWait(t *testing.T) {
	g := NewGuard(Limits{})
	for i := range 10 {
		_ = g.Try(fmt.Sprint(i), home, no)
	}
	if err := g.Try("another", home, yes); !latchkey.Is(err, latchkey.KindTooManyRequests) {
		t.Errorf("11th name from a place = %v", err)
	}
	g = NewGuard(Limits{})
	for i := range 100 {
		_ = g.Try("a", netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), no)
	}
	if err := g.Try("a", home, yes); !latchkey.Is(err, latchkey.KindTooManyRequests) {
		t.Errorf("101st place for a name = %v", err)
	}
}

// F66: an attacker on the same address or on the same account doesn't lock out who is known.
func TestKnownGuestIsNotLockedOut(t *testing.T) {
	g := NewGuard(Limits{})
	if err := g.Try("b", home, yes); err != nil {
		t.Fatal(err)
	}
	for i := range 200 {
		_ = g.Try(fmt.Sprint(i), home, no)
		_ = g.Try("b", netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), no)
	}
	for range 100 {
		if err := g.Try("b", home, yes); err != nil {
			t.Fatalf("known guest = %v", err)
		}
	}
	for range 10 {
		_ = g.Try("b", home, no)
	}
	if err := g.Try("b", home, yes); !latchkey.Is(err, latchkey.KindTooManyRequests) {
		t.Errorf("known guest after ten failures = %v, want too many requests", err)
	}
}

func TestErrorsOfTheCheckDoNotCount(t *testing.T) {
	g, broken := NewGuard(Limits{}), errors.New("disk")
	for range 50 {
		if err := g.Try("a", home, func() (bool, error) { return false, broken }); !errors.Is(err, broken) {
			t.Fatalf("Try = %v, want %v", err, broken)
		}
	}
}

// S4: memory is bounded whatever is thrown at the table.
func TestWindowForgetsWhenFull(t *testing.T) {
	w := NewWindow(3, time.Minute, 100)
	for i := range 10_000 {
		w.Take(fmt.Sprint(i))
	}
	if n := len(w.seen); n > 100 {
		t.Errorf("%d keys, want at most 100", n)
	}
}

func TestPlaceOfIPv6IsItsNetwork(t *testing.T) {
	a, b := Place(netip.MustParseAddr("2001:db8::1")), Place(netip.MustParseAddr("2001:db8::ffff:2"))
	if a != b || a == Place(netip.MustParseAddr("2001:db8:0:1::1")) || Place(netip.MustParseAddr("::ffff:192.0.2.1")) != "192.0.2.1" {
		t.Errorf("places %s, %s", a, b)
	}
}
