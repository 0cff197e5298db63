package storage

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"latchkey"
)

// X4: on a full disk a write fails as what may pass, so that clients try again; reading goes on, and writing once there is room.
func TestFullDiskMayPass(t *testing.T) {
	db := open(t)
	limit := func(pages int) {
		t.Helper()
		var got int
		if err := db.write.QueryRow(fmt.Sprintf("PRAGMA max_page_count = %d", pages)).Scan(&got); err != nil {
			t.Fatal(err)
		}
	}
	var pages int
	if err := db.write.QueryRow("PRAGMA page_count").Scan(&pages); err != nil {
		t.Fatal(err)
	}
	write := func(i int) error {
		return db.AddOptOut(t.Context(), fmt.Sprint("p", i, strings.Repeat("x", 4000)), fmt.Sprint("h", i), time.Now())
	}
	limit(pages + 2)
	var err error
	n := 0
	for ; err == nil && n < 100; n++ {
		err = write(n)
	}
	if !latchkey.Is(err, latchkey.KindUnavailable) || latchkey.RetryAfter(err) <= 0 {
		t.Fatalf("after %d writes to a full disk: %v, want that it may pass", n, err)
	}
	if ok, err := db.OptedOut(t.Context(), fmt.Sprint("p0", strings.Repeat("x", 4000))); err != nil || !ok {
		t.Errorf("what was written before is read as %v, %v", ok, err)
	}
	limit(pages + 100)
	if err := write(n); err != nil {
		t.Errorf("with room again: %v", err)
	}
}
