package gateway

import (
	"testing"

	"latchkey"
)

// B1.12: the account is asserted, and the number that it stands for as tel, too.
func TestAccountAndItsNumberAreAsserted(t *testing.T) {
	for account, want := range map[latchkey.AccountID][]string{
		"sip:b_at_cc.com@guest.example":    {"<sip:b_at_cc.com@guest.example>"},
		"sip:+8613800000000@guest.example": {"<sip:+8613800000000@guest.example>", "<tel:+8613800000000>"},
	} {
		got := asserted(account)
		if len(got) != len(want) {
			t.Fatalf("%s: %v, want %v", account, got, want)
		}
		for i, f := range got {
			if f.Name != "P-Asserted-Identity" || f.Value != want[i] {
				t.Errorf("%s: %v, want %s", account, f, want[i])
			}
		}
	}
}
