package secret

import "testing"

// S3: a password is recognised by its salted hash and by no other.
func TestPasswordMatchesItsOwnHashOnly(t *testing.T) {
	p, h := New()
	q, other := New()
	if p == q || h.Salt == other.Salt {
		t.Fatal("two passwords or salts are the same")
	}
	if len(p.Reveal()) < 26 {
		t.Errorf("password of %d characters, want 26", len(p.Reveal()))
	}
	if !h.Matches(p.Reveal()) || h.Matches(q.Reveal()) || h.Matches("") || other.Matches(p.Reveal()) || (Hash{}).Matches("") {
		t.Error("a hash matches another's password, or not its own")
	}
	if h.Sum == p.Reveal() || h.Sum == "" {
		t.Error("the hash shows the password")
	}
}

func TestTokensAreFoundByTheirIndex(t *testing.T) {
	a, b := Token(), Token()
	if Index(a) != Index(a) || Index(a) == Index(b) || Index(a) == a {
		t.Error("Index doesn't tell tokens apart")
	}
}
