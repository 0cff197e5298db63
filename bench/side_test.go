package bench

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// side is one of two things that are measured in turns.
type side struct {
	name  string
	times []time.Duration
}

func (s *side) measure(f func()) {
	begun := time.Now()
	f()
	s.times = append(s.times, time.Since(begun))
}

// at is the time below which that share of the measurements lies.
func (s *side) at(share float64) time.Duration {
	sorted := slices.Sorted(slices.Values(s.times))
	return sorted[min(int(share*float64(len(sorted))), len(sorted)-1)]
}

func (s *side) String() string {
	return fmt.Sprintf("%-44s median %8.2f ms, 5 %% to 95 %% %.2f to %.2f ms, %d rounds", s.name, ms(s.at(0.5)), ms(s.at(0.05)), ms(s.at(0.95)), len(s.times))
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// compare prints ours beside the others.
func compare(b *testing.B, ours *side, others ...*side) {
	b.Logf("%v", ours)
	b.ReportMetric(0, "ns/op") // a round has both sides in it; the medians are what counts
	b.ReportMetric(ms(ours.at(0.5)), "ms-median")
	for _, o := range others {
		b.Logf("%v; ours is %.1f times as long", o, float64(ours.at(0.5))/float64(o.at(0.5)))
	}
}

// program builds latchkey as a user does.
func program(b *testing.B) string {
	b.Helper()
	path := filepath.Join(b.TempDir(), "latchkey")
	if out, err := exec.Command("go", "build", "-o", path, "latchkey/cmd/latchkey").CombinedOutput(); err != nil {
		b.Fatalf("go build: %v\n%s", err, out)
	}
	return path
}

// disk is a file on the disk that the gateway's data lie on.
type disk struct{ f *os.File }

func newDisk(b *testing.B) disk {
	b.Helper()
	f, err := os.CreateTemp(b.TempDir(), "fsync")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = f.Close() })
	return disk{f}
}

// write appends a page and waits until it is on the disk.
func (d disk) write(b *testing.B) {
	if _, err := d.f.Write(make([]byte, 4096)); err != nil {
		b.Fatal(err)
	}
	if err := d.f.Sync(); err != nil {
		b.Fatal(err)
	}
}
