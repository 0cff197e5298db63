package storage_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"latchkey"
	"latchkey/storage"
)

// crashEnv names the file that the test binary writes to when it is run as the process to be killed.
const crashEnv = "LATCHKEY_TEST_CRASH"

// X4, F59: what was acknowledged before a kill -9 is there afterwards, each once, and what wasn't is whole or absent.
func TestAcknowledgedWritesOutliveAKill(t *testing.T) {
	if path := os.Getenv(crashEnv); path != "" {
		writeUntilKilled(t, path)
		return
	}
	path := filepath.Join(t.TempDir(), "latchkey.db")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestAcknowledgedWritesOutliveAKill$")
	cmd.Env = append(os.Environ(), crashEnv+"="+path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	acknowledged := map[string]bool{}
	lines := bufio.NewScanner(out)
	for lines.Scan() { // reads on after the kill: these were acknowledged, too
		if id, ok := strings.CutPrefix(lines.Text(), "acknowledged "); ok {
			if acknowledged[id] = true; len(acknowledged) == 200 {
				_ = cmd.Process.Kill() // SIGKILL
			}
		}
	}
	if err := cmd.Wait(); err == nil || len(acknowledged) < 200 {
		t.Fatalf("the process was not killed in the middle: %v after %d", err, len(acknowledged))
	}
	if info, err := os.Stat(path + "-wal"); err != nil || info.Size() == 0 {
		t.Fatalf("the end was clean: %v, %v", info, err)
	}
	db := open(t, path)
	r, err := db.Invitations(t.Context(), alice)
	if err != nil || len(r) != 1 {
		t.Fatalf("Invitations = %v, %v", r, err)
	}
	history, err := db.History(t.Context(), bob, alice, "", 1_000_000)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range history {
		if m.Text.Reveal() != text(string(m.ID)) {
			t.Errorf("message %s is not whole", m.ID)
		}
		delete(acknowledged, string(m.ID))
	}
	if len(acknowledged) != 0 {
		t.Errorf("%d acknowledged messages are lost", len(acknowledged))
	}
	in := 0
	for _, m := range history {
		if m.Direction == latchkey.ToGuest {
			in++
		}
	}
	events, err := db.Events(t.Context(), bob, 0, 1_000_000)
	if err != nil || len(events) != in {
		t.Errorf("%d events for %d messages, %v", len(events), in, err)
	}
	if _, repeated, err := db.AddToInviter(t.Context(), outgoing(r[0].Relation, "after", "after the crash")); err != nil || repeated {
		t.Errorf("write after the crash = %v, %v", repeated, err)
	}
}

func text(id string) string { return strings.Repeat(id, 20) }

func writeUntilKilled(t *testing.T, path string) {
	db, err := storage.Open(t.Context(), path, storage.Options{})
	if err != nil {
		t.Fatal(err)
	}
	r := live(t, db, bob, alice)
	var out sync.Mutex
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for n := 0; ; n++ {
				var err error
				m, e := incoming(r, fmt.Sprint(i, " ", n), "")
				if i%2 == 0 {
					m = outgoing(r, fmt.Sprint(i, " ", n), "")
				}
				m.Text = latchkey.Text(text(string(m.ID)))
				if i%2 == 0 {
					_, _, err = db.AddToInviter(t.Context(), m)
				} else {
					_, err = db.AddToGuest(t.Context(), m, e)
				}
				if err != nil {
					return
				}
				out.Lock()
				fmt.Println("acknowledged", m.ID)
				out.Unlock()
			}
		})
	}
	all.Wait()
}

// S3: a link with its password is gone from the disk once it was sent: from the file and from the write-ahead log.
func TestSentSecretIsErasedFromTheDisk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "latchkey.db")
	db := open(t, path)
	secret := latchkey.NewToken()
	onDisk := func() (where []string) {
		t.Helper()
		for _, suffix := range []string{"", "-wal"} {
			data, err := os.ReadFile(path + suffix)
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Contains(data, []byte(secret)) {
				where = append(where, "file"+suffix)
			}
		}
		return where
	}
	var sent []string
	for i := range 30 {
		_, r, err := db.Ask(t.Context(), guestOf(latchkey.AccountID(fmt.Sprintf("sip:g%d@guest.example", i))), relation(latchkey.AccountID(fmt.Sprintf("sip:g%d@guest.example", i)), alice))
		if err != nil {
			t.Fatal(err)
		}
		n := notice(r)
		n.Link = latchkey.Secret("http://x/?passwd=" + secret)
		if err := db.Settle(t.Context(), r, fmt.Sprint(i), "hash", n); err != nil {
			t.Fatal(err)
		}
		sent = append(sent, n.ID)
	}
	if err := db.Purge(t.Context(), now(), time.Hour); err != nil { // moves the log into the file
		t.Fatal(err)
	}
	if where := onDisk(); len(where) == 0 {
		t.Fatal("the test looks in the wrong place: the secret was never there")
	}
	for i, id := range sent {
		state := latchkey.NotificationSent
		if i%2 == 0 {
			state = latchkey.NotificationFailed
		}
		if err := db.EndNotice(t.Context(), id, state, ""); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Purge(t.Context(), now(), time.Hour); err != nil {
		t.Fatal(err)
	}
	if where := onDisk(); len(where) != 0 {
		t.Errorf("the secret stands in %v", where)
	}
}

// Opening twice migrates once, two processes' worth of handles may have the file, and the rows stay.
func TestOpeningAgainChangesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "latchkey.db")
	first := open(t, path)
	live(t, first, bob, alice)
	schema := func(db *storage.DB) (s string) {
		t.Helper()
		err := db.Read().QueryRowContext(t.Context(), `SELECT group_concat(sql, ';') || (SELECT count(*) FROM schema_version) FROM (SELECT sql FROM sqlite_schema ORDER BY name)`).Scan(&s)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	want := schema(first)
	second := open(t, path)
	if got := schema(second); got != want {
		t.Errorf("schema %s, want %s", got, want)
	}
	live(t, second, "sip:c@guest.example", alice)
	live(t, first, "sip:d@guest.example", alice)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if n := rows(t, second, "relation"); n != 3 {
		t.Errorf("%d relations, want 3", n)
	}
}
