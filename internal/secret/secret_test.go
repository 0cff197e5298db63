package secret

import (
	"strings"
	"testing"
)

// S3: a password is recognised by its salted hash and by no other.
func TestPasswordMatchesItsOwnHashOnly(t *testing.T) {
	p, h := New()
	q, other := New()
	if p == q || h.Salt == other.Salt {
		t.Fatal("two passwords or salts are the same")
	}
	if !h.Matches(p.Reveal()) || other.Matches(p.Reveal()) {
		t.Error("a hash matches another's password, or not its own")
	}
	for _, wrong := range []string{"", q.Reveal(), p.Reveal() + "x", p.Reveal()[1:], strings.ToUpper(p.Reveal()), h.Sum} {
		if h.Matches(wrong) {
			t.Errorf("%q matches", wrong)
		}
	}
	for name, broken := range map[string]Hash{"no sum": {Salt: h.Salt}, "no salt": {Sum: h.Sum}, "other salt": {other.Salt, h.Sum}, "part": {h.Salt, h.Sum[:10]}, "none": {}} {
		if broken.Matches(p.Reveal()) || broken.Matches("") {
			t.Errorf("a hash with %s matches", name)
		}
	}
	if strings.Contains(h.Sum, p.Reveal()) || len(h.Salt) != 32 || len(h.Sum) != 64 {
		t.Errorf("hash %+v", h)
	}
}

// S3: the same password has another sum under another salt, so that equal rows tell nothing.
func TestSumDependsOnTheSalt(t *testing.T) {
	if sum("a", "password") == sum("b", "password") || sum("a", "password") == sum("a", "passwore") {
		t.Error("sums are the same")
	}
}

// S3: 128 bits and more. Each character of a password is one of 32, and all 26 of them vary evenly.
func TestPasswordsAreRandomInEachPlace(t *testing.T) {
	const n = 6400
	var seen [26]map[rune]int
	all := map[string]bool{}
	for i := range seen {
		seen[i] = map[rune]int{}
	}
	for i := range n {
		text := Token()
		if i%2 == 0 {
			p, _ := New()
			text = p.Reveal()
		}
		if len(text) != 26 || all[text] {
			t.Fatalf("%q is not 26 characters, or was made before", text)
		}
		all[text] = true
		for place, c := range text {
			seen[place][c]++
		}
	}
	for place, counts := range seen {
		if len(counts) != 32 {
			t.Errorf("place %d has %d different characters, want 32", place, len(counts))
		}
		for c, count := range counts { // 200 expected, deviation 14: 9 deviations away is no chance
			if count < 70 || count > 330 {
				t.Errorf("place %d has %c %d times of %d", place, c, count, n)
			}
		}
	}
}

func TestTokensAreFoundByTheirIndex(t *testing.T) {
	a, b := Token(), Token()
	first, again := Index(a), Index(a)
	if first != again || first == Index(b) || strings.Contains(Index(a), a) || len(Index(a)) != 64 {
		t.Error("Index doesn't tell tokens apart, or shows them")
	}
}
