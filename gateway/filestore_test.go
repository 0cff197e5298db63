package gateway_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"latchkey/gateway"
	"latchkey/gateway/gatewaytest"
	"latchkey/imstest"
)

// bucketOption is file-store for a bucket.
func bucketOption(t *testing.T, b *imstest.Bucket) string {
	t.Helper()
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(b.Secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return "--file-store=s3://" + b.KeyID + ":@" + secret + "@" + b.Name + "/latchkey?endpoint=http://" + b.Addr + "&region=us-east-1"
}

// checkMetrics waits until the metrics are as they should be: some are counted when a guest has been told already.
func checkMetrics(t *testing.T, w *gatewaytest.World, want map[string]string) {
	t.Helper()
	var wrong []string
	defer func() {
		for _, line := range wrong {
			t.Error(line)
		}
	}()
	imstest.Eventually(t, gatewaytest.Patience, func() bool {
		wrong = nil
		for line, value := range want {
			if got := w.Metric(line); got != value {
				wrong = append(wrong, fmt.Sprintf("%s %s, want %s", line, got, value))
			}
		}
		return len(wrong) == 0
	})
}

// R33, R30, F51, F53: files go both ways through a bucket of a store that nobody here wrote, are read from the middle on, and are gone
// from it when the relation ends; the metrics tell of them.
func TestFilesLieInABucket(t *testing.T) {
	t.Parallel()
	b := imstest.NewBucket(t)
	w := gatewaytest.New(t, gatewaytest.Plan{Args: []string{bucketOption(t, b)}})
	a := w.Phone(gatewaytest.Alice, imstest.Manner{})
	g := w.FileGuest()
	long := noise(9 << 20) // more than a part
	f := g.SendFile(gatewaytest.Alice, "plan.pdf", "application/pdf", bytes.NewReader(long))
	if got := sentTo(t, w, a, 1); got.Sum != sum(long) {
		t.Errorf("Alice has %s, want %s", got.Sum, sum(long))
	}
	g.FileEvent("delivery", state("sent"))
	short := noise(100_000)
	if _, err := a.SendFile(w.Within(gatewaytest.Patience), g.Account, imstest.FileOffer{Name: "a.jpg", Type: "image/jpeg", Body: bytes.NewReader(short), Size: int64(len(short))}); err != nil {
		t.Fatal(err)
	}
	e := g.FileEvent("file", func(gatewaytest.Event) bool { return true })
	var got bytes.Buffer
	if status := g.Download(e.File.ID, &got); status != 200 || !bytes.Equal(got.Bytes(), short) {
		t.Errorf("download: %d, %d octets", status, got.Len())
	}
	req, err := http.NewRequest("GET", w.URL()+"/rcsgw/invitee/file/"+f.ID, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth(g.Account, g.Password)
	req.Header.Set("Range", "bytes=8388600-8388699")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if part, err := io.ReadAll(res.Body); res.StatusCode != 206 || err != nil || !bytes.Equal(part, long[8388600:8388700]) {
		t.Errorf("range: %d, %d octets, %v", res.StatusCode, len(part), err)
	}
	checkMetrics(t, w, map[string]string{
		`latchkey_files_received_bytes_total{direction="out"}`:                  "9.437184e+06",
		`latchkey_files_received_bytes_total{direction="in"}`:                   "100000",
		`latchkey_files_received_files_total{direction="out",outcome="stored"}`: "1",
		`latchkey_files_received_files_total{direction="in",outcome="stored"}`:  "1",
		`latchkey_files_received_files_total{direction="in",outcome="refused"}`: "0",
		`latchkey_files_held_files`:                                             "2",
		`latchkey_files_held_bytes`:                                             "9.537184e+06",
		`latchkey_files_calls_total{outcome="sent"}`:                            "1",
		`latchkey_files_carried_bytes_total`:                                    "9.437184e+06",
		`latchkey_files_fetches_total{outcome="forbidden"}`:                     "0",
	})
	if keys := b.Objects(); len(keys) != 2 || !strings.HasPrefix(keys[0], "latchkey/") || b.Parts() != 0 {
		t.Errorf("in the bucket are %q and %d parts, want two files", keys, b.Parts())
	}
	if _, err := os.Stat(w.Data + ".files"); !os.IsNotExist(err) {
		t.Errorf("there is a folder of files, too: %v", err)
	}
	g.Do("DELETE", g.SessionPath(), "").Wants(http.StatusNoContent)
	imstest.Eventually(t, gatewaytest.Patience, func() bool { return len(b.Objects()) == 0 })
}

// R33: a store that is down when the gateway starts, or goes down, costs files alone, says so, and is used when it is there.
func TestGatewayWaitsForItsBucket(t *testing.T) {
	t.Parallel()
	b := imstest.NewBucket(t)
	option := bucketOption(t, b)
	b.Stop()
	w := gatewaytest.New(t, gatewaytest.Plan{Args: []string{option}})
	if !strings.Contains(w.Log.String(), "file store does not answer") {
		t.Error("nothing is logged of a store that is down")
	}
	a := w.Phone(gatewaytest.Alice, imstest.Manner{})
	g := w.FileGuest()
	if p := g.Upload(gatewaytest.Alice, "a.txt", "text/plain", strings.NewReader("hello")); p.Status != http.StatusServiceUnavailable || strings.Contains(string(p.Body), b.Addr) {
		t.Errorf("upload = %d %s", p.Status, p.Body)
	}
	checkMetrics(t, w, map[string]string{`latchkey_files_received_files_total{direction="out",outcome="lost"}`: "1"})
	b.Start()
	g.SendFile(gatewaytest.Alice, "a.txt", "text/plain", strings.NewReader("hello"))
	if got := sentTo(t, w, a, 1); got.Sum != sum([]byte("hello")) {
		t.Errorf("Alice got %+v", got)
	}
}

// A bucket that refuses the gateway is found out when it starts.
func TestGatewayDoesNotStartWithAWrongBucket(t *testing.T) {
	t.Parallel()
	b := imstest.NewBucket(t)
	b.Secret = "guess"
	dir := t.TempDir()
	users := filepath.Join(dir, "users.yaml")
	if err := os.WriteFile(users, []byte("users: []\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := gateway.Load([]string{"--data=" + filepath.Join(dir, "x.db"), "--directory=file:" + users, bucketOption(t, b)}, func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := gateway.New(c, nil); err == nil || !strings.HasPrefix(err.Error(), "file-store: ") || !strings.Contains(err.Error(), "secret is another") {
		t.Errorf("New = %v", err)
	}
}

// R33: alerts on files name metrics that a gateway has from its start, with outcomes that there are; the page for operators explains each.
func TestAlertsOnFilesAreOfWhatThereIs(t *testing.T) {
	t.Parallel()
	w := gatewaytest.New(t, gatewaytest.Plan{})
	rules, err := os.ReadFile("../deploy/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../docs/howto/file-store.md")
	if err != nil {
		t.Fatal(err)
	}
	there := w.Metrics()
	_, group, ok := strings.Cut(string(rules), "name: latchkey-files\n")
	group, _, _ = strings.Cut(group, "\n  - name: ")
	alerts := regexp.MustCompile(`alert: (\S+)`).FindAllStringSubmatch(group, -1)
	if !ok || len(alerts) == 0 {
		t.Fatal("there is no alert on files")
	}
	for _, a := range alerts {
		if !strings.Contains(string(page), "`"+a[1]+"`") {
			t.Errorf("%s is not on the page", a[1])
		}
	}
	for _, m := range regexp.MustCompile(`(latchkey_files_\w+)\{(outcome="\w+")\}`).FindAllStringSubmatch(group, -1) {
		if !regexp.MustCompile(`(?m)^` + m[1] + `\{.*` + m[2] + `\} `).MatchString(there) {
			t.Errorf("there is no %s with %s", m[1], m[2])
		}
	}
	for _, name := range regexp.MustCompile(`latchkey_files_\w+`).FindAllString(string(page), -1) {
		if name = strings.TrimSuffix(name, "_"); !strings.Contains(there, "\n"+name) {
			t.Errorf("the page names %s, which is not there", name)
		}
	}
}
