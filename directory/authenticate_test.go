package directory

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"latchkey"
)

// watched counts the checks of a password and how many run at once.
type watched struct {
	name          string
	right         string
	checks        *atomic.Int32
	running, most *atomic.Int32
	gate          chan struct{} // nil: don't wait
}

func (w watched) matches(password string) bool {
	w.checks.Add(1)
	n := w.running.Add(1)
	for m := w.most.Load(); n > m && !w.most.CompareAndSwap(m, n); m = w.most.Load() {
	}
	if w.gate != nil {
		<-w.gate
	}
	w.running.Add(-1)
	return password == w.right
}

func (w watched) String() string { return w.name }

// watch puts a counting hash in place of every user's.
func watch(f *File, right string, gate chan struct{}) watched {
	w := watched{"watched", right, new(atomic.Int32), new(atomic.Int32), new(atomic.Int32), gate}
	s := f.now.Load()
	for i := range s.entries {
		if s.entries[i].hash != nil {
			s.entries[i].hash = w
		}
	}
	return w
}

func twoUsers(t testing.TB) string {
	return fmt.Sprintf("users:\n  - {uri: sip:a@cc.com, tel: \"+8613800000001\", name: Alice, password: %q}\n  - {uri: sip:mute@cc.com}\n", quick(t, "right"))
}

// R2: the credentials are those of the directory, however the user writes their URI.
func TestRightPasswordGivesTheUser(t *testing.T) {
	f := openText(t, twoUsers(t))
	for _, user := range []string{"sip:a@cc.com", "a@cc.com", "SIP:a@CC.com", "tel:+8613800000001", "+8613800000001", "+8613800000001@cc.com"} {
		if s, err := f.Authenticate(t.Context(), user, "right"); err != nil || s.Name != "Alice" {
			t.Errorf("Authenticate(%s) = %+v, %v, want Alice", user, s, err)
		}
	}
}

// F05: wrong password, unknown user, and a user without a password all look alike.
func TestWrongCredentialsLookAlike(t *testing.T) {
	f := openText(t, twoUsers(t))
	want := latchkey.Errorf(latchkey.KindUnauthorized, "").Error()
	for _, c := range [][2]string{{"a@cc.com", "wrong"}, {"a@cc.com", ""}, {"x@cc.com", "right"}, {"mute@cc.com", "right"}, {"mute@cc.com", ""}, {"", ""}, {"\r\n", "right"}, {"A@cc.com", "right"}} {
		s, err := f.Authenticate(t.Context(), c[0], c[1])
		if err == nil || err.Error() != want || s != (latchkey.Subscriber{}) {
			t.Errorf("Authenticate(%q) = %+v, %v, want %s", c, s, err, want)
		}
	}
}

// F05: a name that nobody has costs one check, too, of a hash that somebody has; one name always the same.
func TestUnknownUserCostsTheSame(t *testing.T) {
	f := openText(t, twoUsers(t))
	w := watch(f, "right", nil)
	for i, user := range []string{"a@cc.com", "x@cc.com", "mute@cc.com", "", "x@cc.com"} {
		_, _ = f.Authenticate(t.Context(), user, "wrong")
		if got := w.checks.Load(); got != int32(i+1) {
			t.Fatalf("%d checks after %q, want %d", got, user, i+1)
		}
	}
	// Where nobody has a password there is a hash all the same.
	none := openText(t, "users: []\n")
	quickly := time.Now()
	_, _ = none.Authenticate(t.Context(), "x@cc.com", "wrong")
	if time.Since(quickly) < time.Millisecond {
		t.Error("no hash was checked where nobody has a password")
	}
}

// F05: hashes of a file may cost more or less. Unknown names cost what users cost, each always the same.
func TestUnknownNamesAreSpreadOverUsers(t *testing.T) {
	f := openText(t, fmt.Sprintf("users:\n  - {uri: sip:a@cc.com, password: %q}\n  - {uri: sip:b@cc.com, password: %[1]q}\n", quick(t, "right")))
	s := f.now.Load()
	var users [2]watched
	for i := range users {
		users[i] = watched{fmt.Sprint(i), "right", new(atomic.Int32), new(atomic.Int32), new(atomic.Int32), nil}
		s.entries[i].hash = users[i]
	}
	for i := range 64 {
		before := users[0].checks.Load()
		for range 3 {
			_, _ = f.Authenticate(t.Context(), fmt.Sprintf("x%d@cc.com", i), "right")
		}
		if n := users[0].checks.Load() - before; n != 0 && n != 3 {
			t.Fatalf("a name met one user's hash %d times of 3, want always or never", n)
		}
	}
	if a, b := users[0].checks.Load(), users[1].checks.Load(); a == 0 || b == 0 {
		t.Errorf("64 names met the two hashes %d and %d times, want both", a, b)
	}
}

// Clients send their password with each request: it is checked once in a while, and a wrong one always.
func TestProofHoldsForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := openText(t, twoUsers(t))
		w := watch(f, "right", nil)
		ask := func(password string, checks int32) {
			t.Helper()
			_, err := f.Authenticate(t.Context(), "a@cc.com", password)
			if (err == nil) != (password == "right") || w.checks.Load() != checks {
				t.Fatalf("Authenticate(%s) = %v after %d checks, want %d", password, err, w.checks.Load(), checks)
			}
		}
		ask("right", 1)
		time.Sleep(proofHolds - time.Second)
		ask("right", 1)
		ask("wrong", 2)
		ask("wrong", 3)
		ask("right", 3)
		time.Sleep(time.Second)
		ask("right", 4)
	})
}

// A password that was changed or taken away doesn't open by what it proved before.
func TestReloadForgetsProofs(t *testing.T) {
	path := write(t, twoUsers(t))
	f, err := OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Authenticate(t.Context(), "a@cc.com", "right"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, fmt.Appendf(nil, "users:\n  - {uri: sip:a@cc.com, password: %q}\n", quick(t, "new")), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := f.Reload(); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Authenticate(t.Context(), "a@cc.com", "right"); !latchkey.Is(err, latchkey.KindUnauthorized) {
		t.Errorf("Authenticate with the old password = %v, want unauthorized", err)
	}
	if _, err := f.Authenticate(t.Context(), "a@cc.com", "new"); err != nil {
		t.Errorf("Authenticate with the new password = %v", err)
	}
}

// S4: guesses in parallel take turns, those whose turn doesn't come are told so, and whoever is
// known passes by.
func TestParallelGuessesDoNotTakeAllCPUs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := openText(t, twoUsers(t))
		watch(f, "right", nil)
		if _, err := f.Authenticate(t.Context(), "a@cc.com", "right"); err != nil {
			t.Fatal(err)
		}
		gate := make(chan struct{})
		s := f.now.Load()
		w := s.entries[0].hash.(watched)
		w.gate = gate
		s.entries[0].hash = w
		slots := cap(f.proofs.slots)
		if slots < 1 || slots > max(1, runtime.GOMAXPROCS(0)/2) {
			t.Fatalf("%d checks may run at once, want half of the CPUs at most", slots)
		}
		var guesses sync.WaitGroup
		var busy atomic.Int32
		for range 20 * slots {
			guesses.Go(func() {
				if _, err := f.Authenticate(t.Context(), "a@cc.com", "wrong"); latchkey.Is(err, latchkey.KindBusy) {
					busy.Add(1)
				}
			})
		}
		synctest.Wait() // all turns are taken
		gone, cancel := context.WithCancel(t.Context())
		guesses.Go(func() {
			if _, err := f.Authenticate(gone, "a@cc.com", "wrong"); err != context.Canceled {
				t.Errorf("Authenticate of one who left = %v, want %v", err, context.Canceled)
			}
		})
		synctest.Wait()
		cancel()
		if most := w.most.Load(); int(most) != slots {
			t.Errorf("%d checks at once, want %d", most, slots)
		}
		if _, err := f.Authenticate(t.Context(), "a@cc.com", "right"); err != nil {
			t.Errorf("Authenticate of one who is known = %v", err)
		}
		time.Sleep(maxWait)
		synctest.Wait()
		if n := busy.Load(); int(n) != 19*slots {
			t.Errorf("%d were told busy, want %d", n, 19*slots)
		}
		close(gate)
		guesses.Wait()
	})
}

// A client that opens with many requests at once costs one check.
func TestManyRequestsAtOnceAreProvenOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := openText(t, twoUsers(t))
		gate := make(chan struct{})
		w := watch(f, "right", gate)
		slots := cap(f.proofs.slots)
		var requests sync.WaitGroup
		for range 20 * slots {
			requests.Go(func() {
				if s, err := f.Authenticate(t.Context(), "a@cc.com", "right"); err != nil || s.Name != "Alice" {
					t.Errorf("Authenticate = %+v, %v, want Alice", s, err)
				}
			})
		}
		synctest.Wait()
		close(gate)
		requests.Wait()
		if n := w.checks.Load(); int(n) != slots {
			t.Errorf("%d checks, want %d: those that began before anything was proven", n, slots)
		}
	})
}

func TestProofsAreBounded(t *testing.T) {
	p, keys, now := &proven{until: map[[32]byte]time.Time{}}, newProofs(), time.Now()
	for i := range maxProofs + 500 {
		p.add(keys.sum(fmt.Sprint(i)), now)
	}
	if last := keys.sum(fmt.Sprint(maxProofs + 499)); len(p.until) != maxProofs || !p.holds(last, now) {
		t.Errorf("%d proofs, the last holds: %v; want %d and true", len(p.until), p.holds(last, now), maxProofs)
	}
	p.add(keys.sum("late"), now.Add(proofHolds))
	if len(p.until) != 1 {
		t.Errorf("%d proofs after all ran out, want 1", len(p.until))
	}
}

// S3: bcrypt as of several makers and argon2id as of another, whose hashes were made elsewhere.
func TestHashesOfOthersAreRead(t *testing.T) {
	for _, c := range []struct{ hash, password string }{
		{"$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", "U*U"}, // OpenBSD's and crypt_blowfish's test vectors
		{"$2y$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", "U*U"}, // as htpasswd writes it
		{"$2a$05$XXXXXXXXXXXXXXXXXXXXXOAcXxm9kjPGEMsLznoKqmqw7tc8WCx4a", "U*U*U"},
		{"$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4", "password"}, // of phc-winner-argon2's test.c
		{"$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc", "password"},
	} {
		h, err := parseHash(c.hash)
		if err != nil {
			t.Errorf("parseHash(%s) = %v", c.hash, err)
			continue
		}
		if !h.matches(c.password) || h.matches(c.password+"x") || h.matches("") || h.String() != c.hash {
			t.Errorf("%s is not the hash of %s alone", c.hash, c.password)
		}
	}
}

// A file can't make each login take seconds or gigabytes.
func TestHashesThatAskForTooMuchAreRefused(t *testing.T) {
	const argon = "$argon2id$v=19$m=%s$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4"
	tail := strings.Repeat("a", 53)
	for _, h := range []string{
		"", "secret", "{SSHA}x", "$1$ab$cd", "$2a$10$short", "$2x$10$" + tail, "$2a$15$" + tail, "$2a$31$" + tail, "$2a$03$" + tail, "$2a$10$" + tail + "\n",
		fmt.Sprintf(argon, "4194304,t=1,p=1"), fmt.Sprintf(argon, "262144,t=5,p=1"), fmt.Sprintf(argon, "1024,t=65,p=1"), fmt.Sprintf(argon, "1024,t=0,p=1"),
		fmt.Sprintf(argon, "1024,t=1,p=0"), fmt.Sprintf(argon, "1024,t=1,p=17"), fmt.Sprintf(argon, "8,t=1,p=2"), fmt.Sprintf(argon, "9999999999,t=1,p=1"),
		"$argon2id$v=16$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
		"$argon2i$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
		"$argon2id$v=19$m=256,t=2,p=1$c2FsdA$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
		"$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65",
	} {
		if _, err := parseHash(h); err == nil {
			t.Errorf("parseHash(%q) has no error", h)
		}
	}
}

// S3: bcrypt reads 72 bytes only, so two long passwords must not be taken for one another.
func TestLongPasswordsAreHashedWhole(t *testing.T) {
	for _, n := range []int{72, 73} {
		password := strings.Repeat("p", n)
		text, err := HashPassword(password)
		if err != nil {
			t.Fatalf("HashPassword of %d bytes = %v", n, err)
		}
		h, err := parseHash(text)
		if err != nil {
			t.Fatalf("parseHash(%s) = %v", text, err)
		}
		if !h.matches(password) || h.matches(password[1:]+"q") {
			t.Errorf("the hash of %d bytes doesn't tell passwords apart", n)
		}
	}
	a, _ := HashPassword(strings.Repeat("p", 100))
	if b, err := HashPassword(strings.Repeat("p", 100)); err != nil || a == b {
		t.Errorf("two hashes of one password are the same, %v: there is no salt", err)
	}
	for _, p := range []string{"", strings.Repeat("p", maxPassword+1)} {
		if _, err := HashPassword(p); err == nil {
			t.Errorf("HashPassword of %d bytes has no error", len(p))
		}
	}
}
