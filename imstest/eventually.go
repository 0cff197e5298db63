package imstest

import (
	"testing"
	"time"
)

// Eventually polls f until it is true, and fails the test if it isn't within d.
func Eventually(t testing.TB, d time.Duration, f func() bool) {
	t.Helper()
	for end := time.Now().Add(d); ; {
		if f() {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("did not come true within %v", d)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
