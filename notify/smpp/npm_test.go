package smpp_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"latchkey/imstest"
	"latchkey/notify/smpp"
)

// saying is a line of testdata/smsc.js.
type saying struct {
	Event, Command, ID, From, To, Text string
	UDH                                []string
	OK                                 bool
	Version, TON, SAR, Coding          int
	Reference, Port, Status            int
}

// npmCentre is an SMS centre of the npm package smpp, a program of its own.
type npmCentre struct {
	addr string

	mu   sync.Mutex
	said []saying
}

func (n *npmCentre) all(event string) (all []saying) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, s := range n.said {
		if s.Event == event {
			all = append(all, s)
		}
	}
	return all
}

func startNPM(t *testing.T, script string) *npmCentre {
	t.Helper()
	tools := os.Getenv("LATCHKEY_TOOLS")
	if cache, err := os.UserCacheDir(); tools == "" && err == nil {
		tools = filepath.Join(cache, "latchkey", "tools")
	}
	modules := filepath.Join(tools, "npm", "node_modules")
	_, err := exec.LookPath("node")
	if _, there := os.Stat(filepath.Join(modules, "smpp")); errors.Join(err, there) != nil {
		missing := "node or its package smpp is missing; get it by: ./test.sh ./notify/..."
		if os.Getenv("CI") == "true" {
			t.Fatal(missing)
		}
		t.Skip(missing)
	}
	cmd := exec.Command("node", filepath.Join("testdata", "smsc.js"), script)
	cmd.Env = append(os.Environ(), "NODE_PATH="+modules)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	n := &npmCentre{}
	over := make(chan struct{})
	go func() { // ends with the process
		defer close(over)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			var s saying
			if err := json.Unmarshal(lines.Bytes(), &s); err != nil {
				t.Errorf("%s: %v", lines.Text(), err)
			}
			n.mu.Lock()
			n.said = append(n.said, s)
			n.mu.Unlock()
		}
	}()
	t.Cleanup(func() { _ = cmd.Process.Kill(); <-over; _ = cmd.Wait() })
	imstest.Eventually(t, 60*time.Second, func() bool { return len(n.all("listen")) == 1 })
	n.addr = fmt.Sprintf("127.0.0.1:%d", n.all("listen")[0].Port)
	return n
}

// B3.15: a centre that nobody here wrote lets us in, takes texts of each alphabet and length as they were meant, and its receipts of both
// forms are understood and acknowledged.
func TestNPMCentreUnderstandsUs(t *testing.T) {
	n := startNPM(t, "plain")
	receipts := make(chan smpp.Receipt, 32)
	c := run(t, smpp.Options{EnquireLink: 50 * time.Millisecond, Version: 0x50, Deliver: func(_ context.Context, m *smpp.SM) error {
		if r, ok := m.Receipt(); ok {
			receipts <- r
		}
		return nil
	}}, n.addr)
	long := strings.Repeat("Grüße {aus} Köln für 5€. ", 12)
	for i, c2 := range []struct {
		text  string
		style smpp.Style
		parts int
	}{
		{"hello @£$ ΔΦ [€]", smpp.Style{}, 1}, {"你好，世界 🙂", smpp.Style{}, 1}, {long, smpp.Style{}, 3}, {long, smpp.Style{Long: smpp.UDH16}, 3},
		{strings.Repeat("你好🙂", 30), smpp.Style{}, 2}, {strings.Repeat("a", 200), smpp.Style{Long: smpp.SAR}, 2}, {strings.Repeat("a", 200), smpp.Style{Long: smpp.Payload}, 1},
	} {
		before := len(n.all("submit"))
		var ids []string
		for _, p := range compose(t, c2.text, c2.style) {
			m := message("")
			m.Class, m.Coding, m.Short = p.Class, p.Coding, p.Short
			m.TLVs = append(p.TLVs, smpp.Number(smpp.TagUserMessageReference, 2, uint32(i+1)))
			id, err := c.Submit(within(t, patience), m)
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, id)
		}
		imstest.Eventually(t, patience, func() bool { return len(n.all("submit")) == before+c2.parts })
		var whole strings.Builder
		for _, s := range n.all("submit")[before:] {
			if whole.WriteString(s.Text); s.To != "8613900000001" || s.TON != 1 || s.From != "Latchkey" || s.Reference != i+1 || (s.UDH != nil) != (c2.parts > 1 && c2.style.Long != smpp.SAR) || (s.SAR > 0) != (c2.style.Long == smpp.SAR) {
				t.Errorf("%+v", s)
			}
		}
		if whole.String() != c2.text {
			t.Errorf("%+v: came as %q, want %q", c2.style, whole.String(), c2.text)
		}
		for range ids {
			select {
			case r := <-receipts:
				if r.State != smpp.Delivered || !slices.ContainsFunc(ids, func(id string) bool { return common(smpp.SameID(id), smpp.SameID(r.ID)) }) {
					t.Errorf("receipt %+v for %q", r, ids)
				}
			case <-time.After(patience):
				t.Fatal("no receipt")
			}
		}
	}
	total := len(n.all("submit"))
	imstest.Eventually(t, patience, func() bool { return len(n.all("ack")) == total && len(n.all("enquire_link")) > 0 })
	for _, a := range n.all("ack") {
		if a.Status != 0 {
			t.Errorf("a receipt was answered with %#x", a.Status)
		}
	}
	if b := n.all("bind"); len(b) != 1 || !b[0].OK || b[0].Command != "bind_transceiver" || b[0].Version != 0x50 {
		t.Errorf("binds %+v", b)
	}
}

// F19, B3.15: throttled at every third submission, each message arrives once.
func TestNPMCentreThrottlesAndGetsEachMessageOnce(t *testing.T) {
	n := startNPM(t, "throttle")
	c := run(t, smpp.Options{Window: 4}, n.addr)
	submitAll(t, c, 30, false)
	imstest.Eventually(t, patience, func() bool { return len(texts(n)) >= 30 }) // what it says comes through a pipe
	if got := slices.Compact(texts(n)); len(got) != 30 || len(texts(n)) != 30 {
		t.Errorf("%d messages were taken, %d of them different, want 30: %v", len(texts(n)), len(got), texts(n))
	}
}

// F19, B3.15: the connection is dropped in mid window; a new one is made, and what is tried again arrives.
func TestNPMCentreDropsTheConnectionInMidWindow(t *testing.T) {
	n := startNPM(t, "drop")
	c := run(t, smpp.Options{Window: 10}, n.addr)
	submitAll(t, c, 100, true)
	imstest.Eventually(t, patience, func() bool { return len(slices.Compact(texts(n))) >= 100 })
	distinct := slices.Compact(texts(n))
	if binds := n.all("bind"); len(distinct) != 100 || len(binds) != 2 {
		t.Errorf("%d different messages over %d binds, want 100 over 2", len(distinct), len(binds))
	}
	if more := len(texts(n)) - 100; more > 10 {
		t.Errorf("%d repeats, want at most a window", more)
	}
}

// submitAll submits messages 0 to n-1 at once, and again what was lost.
func submitAll(t *testing.T, c *smpp.Client, n int, again bool) {
	t.Helper()
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			for {
				_, err := c.Submit(within(t, 2*patience), message(fmt.Sprintf("%03d", i)))
				if again && errors.Is(err, smpp.ErrLost) {
					continue
				}
				if err != nil {
					t.Error(err)
				}
				return
			}
		})
	}
	all.Wait()
}

// texts are those that the centre took, sorted.
func texts(n *npmCentre) (all []string) {
	for _, s := range n.all("submit") {
		all = append(all, s.Text)
	}
	slices.Sort(all)
	return all
}
