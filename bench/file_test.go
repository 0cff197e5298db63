package bench

import (
	"crypto/sha1"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"

	"latchkey/gateway/gatewaytest"
	"latchkey/imstest"
)

// BenchmarkFile is the time from the beginning of a guest's upload of 1 GiB to its last octet on the inviter's phone, and how much more memory the
// gateway has meanwhile: of an upload whose hash is declared, which goes out as it comes, and of one that is stored and hashed first. Beside
// them: the same upload to a net/http server that throws it away, and to one that writes it to the same disk with fsync. CPU time is told for both
// processes: the machine's cores bound what all of it can come to.
func BenchmarkFile(b *testing.B) {
	size := scale(b, gib)
	w := gatewaytest.New(b, gatewaytest.Plan{Command: []string{program(b), "serve"}, Args: []string{"--log-level=info", "--file-max-size=64GiB", "--file-quota=none"}})
	alice := w.Phone(gatewaytest.Alice, imstest.Manner{Files: imstest.FileManner{Discard: true}})
	g := w.FileGuest()
	hash := sha1.New()
	if _, err := io.Copy(hash, octets(size)); err != nil {
		b.Fatal(err)
	}
	sum := [sha1.Size]byte(hash.Sum(nil))
	ours, answered := &side{name: "declared upload to the end on the phone"}, &side{name: "declared upload to its answer"}
	whole, stored := &side{name: "upload to the end on the phone"}, &side{name: "upload to its answer"}
	raw, disk := &side{name: "upload to net/http, thrown away"}, &side{name: "upload to net/http, on disk with fsync"}
	away := uploads(b, func(r io.Reader) error { _, err := io.Copy(io.Discard, r); return err })
	path := filepath.Join(b.TempDir(), "raw")
	kept := uploads(b, func(r io.Reader) error {
		f, err := os.Create(path)
		if err != nil {
			return err
		}
		defer f.Close()
		if _, err := io.Copy(f, r); err != nil {
			return err
		}
		return f.Sync()
	})
	var grown int64
	costs := map[*side]*cost{}
	spend := func(s *side, f func()) { // measures, with the CPU time of both processes
		gateway, own := metric(b, w, "process_cpu_seconds_total"), ownCPU()
		s.measure(f)
		if costs[s] == nil {
			costs[s] = &cost{}
		}
		costs[s].gateway = append(costs[s].gateway, metric(b, w, "process_cpu_seconds_total")-gateway)
		costs[s].own = append(costs[s].own, ownCPU()-own)
	}
	files := 0
	arrives := func(all, upload *side, send func() gatewaytest.SentFile) {
		var f gatewaytest.SentFile
		spend(all, func() {
			upload.measure(func() { f = send() })
			files++
			got, err := alice.Wait(w.Within(time.Hour), "file", files)
			if err != nil || got[files-1].File.Got != size || f.Size != size {
				b.Fatalf("the phone has %+v of %+v, %v", got, f, err)
			}
		})
		g.Do("DELETE", "/rcsgw/invitee/file/"+f.ID, "").Wants(http.StatusNoContent) // so that each side finds the same room, on the disk and in the page cache
	}
	for range b.N {
		before := memory(b, w)
		stop, most := watch(b, w)
		arrives(ours, answered, func() gatewaytest.SentFile {
			return g.SendDeclared(gatewaytest.Alice, "long.bin", "application/x-thing", size, sum, octets(size))
		})
		close(stop)
		grown = max(grown, <-most-before)
		spend(raw, func() { upload(b, away, size) })
		arrives(whole, stored, func() gatewaytest.SentFile {
			return g.SendFile(gatewaytest.Alice, "long.bin", "application/x-thing", octets(size))
		})
		spend(disk, func() { upload(b, kept, size) })
	}
	compare(b, ours, answered, whole, stored, raw, disk)
	for _, s := range []*side{ours, whole, raw, disk} {
		b.Logf("%-44s CPU %5.0f ms of the gateway, %5.0f ms of its peers", s.name, 1000*median(costs[s].gateway), 1000*median(costs[s].own))
	}
	b.Logf("%d MiB: %.0f MiB/s to the phone, %.0f MiB/s of a raw upload (%.2f of it), %.0f MiB/s of one that is kept with fsync (%.2f of it); the gateway's resident memory grew by %d MiB",
		size/mib, rate(size, ours), rate(size, raw), rate(size, ours)/rate(size, raw), rate(size, disk), rate(size, ours)/rate(size, disk), grown/mib)
	b.ReportMetric(float64(grown)/mib, "MiB-grown")
	b.ReportMetric(rate(size, ours)/rate(size, raw), "of-raw-rate")
}

func rate(size int64, s *side) float64 { return float64(size) / mib / s.at(0.5).Seconds() }

// octets is a file of that size.
func octets(size int64) io.Reader { return io.LimitReader(pattern{}, size) }

// pattern reads as octets without end.
type pattern struct{}

func (pattern) Read(b []byte) (int, error) {
	for i := 0; i < len(b); i += 512 {
		b[i] = byte(i >> 9)
	}
	return len(b), nil
}

func uploads(b *testing.B, take func(io.Reader) error) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := take(r.Body); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	}))
	b.Cleanup(s.Close)
	return s.URL
}

func upload(b *testing.B, address string, size int64) {
	res, err := http.Post(address, "application/x-thing", octets(size))
	if err != nil || res.StatusCode != http.StatusOK {
		b.Fatalf("upload: %v, %v", res, err)
	}
	_ = res.Body.Close()
}

// cost is the CPU time of a side, in seconds, by process.
type cost struct{ gateway, own []float64 }

func median(all []float64) float64 {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[len(sorted)/2]
}

var residentLine = regexp.MustCompile(`(?m)^process_resident_memory_bytes (\S+)$`)

// memory is the gateway process's memory, as its metrics tell.
func memory(b *testing.B, w *gatewaytest.World) int64 {
	res, err := http.Get("http://" + w.Admin() + "/metrics")
	if err != nil {
		b.Error(err)
		return 0
	}
	defer res.Body.Close()
	text, _ := io.ReadAll(res.Body)
	m := residentLine.FindSubmatch(text)
	if m == nil {
		b.Error("no process_resident_memory_bytes")
		return 0
	}
	n, _ := strconv.ParseFloat(string(m[1]), 64)
	return int64(n)
}

// watch looks at the gateway's memory ten times a second until stop is closed, and then gives the most.
func watch(b *testing.B, w *gatewaytest.World) (stop chan struct{}, most <-chan int64) {
	stop, result := make(chan struct{}), make(chan int64, 1)
	go func() { // ends with stop
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		n := int64(0)
		for {
			select {
			case <-tick.C:
				n = max(n, memory(b, w))
			case <-stop:
				result <- max(n, memory(b, w))
				return
			}
		}
	}()
	return stop, result
}
