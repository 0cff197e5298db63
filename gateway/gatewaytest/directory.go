package gatewaytest

import (
	"crypto/md5"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"latchkey/imstest"
)

// person is a subscriber of these worlds, as files and programs write one.
type person struct {
	URI      string `json:"uri"`
	UID      string `json:"uid"`
	Name     string `json:"name"`
	Tel      string `json:"tel,omitempty"`
	Email    string `json:"email,omitempty"`
	Level    int    `json:"level"`
	State    string `json:"state"`
	Password string `json:"password"`
}

// people are the subscribers, each with Password.
func people(t testing.TB) []person {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(Password), bcrypt.MinCost) // cheap: it guards nothing
	if err != nil {
		t.Fatal(err)
	}
	all := []person{
		{URI: Alice, UID: "10001", Name: "Alice", Tel: "+8613800000001", Level: 3, State: "active"},
		{URI: Carol, UID: "10003", Name: "Carol", Level: 3, State: "active"},
		{URI: "sip:d@cc.com", UID: "10004", Name: "Dora", Email: "dora@mail.example", Tel: "+8613800000004", Level: 1, State: "active"},
		{URI: "sip:s@cc.com", UID: "10005", Name: "Sue", Level: 9, State: "suspended"},
		{URI: "sip:l@cc.com", UID: "10006", Name: "Leo", Level: 9, State: "lost"},
		{URI: Stranger, UID: "10007", Name: "Xenia", Level: 3, State: "active"},
	}
	for i := range all {
		all[i].Password = string(hash)
	}
	return all
}

// usersFile is the directory of these worlds.
func usersFile(t testing.TB, dir string) string {
	t.Helper()
	var b strings.Builder
	b.WriteString("users:\n")
	for _, p := range people(t) {
		a1 := []byte(p.URI + ":latchkey:" + Password)
		line, err := json.Marshal(struct { // which is YAML, too
			person
			Digest string `json:"digest"`
		}{p, fmt.Sprintf("MD5:%x SHA-256:%x", md5.Sum(a1), sha256.Sum256(a1))})
		if err != nil {
			t.Fatal(err)
		}
		b.WriteString("  - " + string(line) + "\n")
	}
	path := filepath.Join(dir, "users.yaml")
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Directory is the example of an HTTP directory, a program of its own, with the subscribers of these worlds.
type Directory struct {
	URL string // base

	t       testing.TB
	process *os.Process
}

// NewDirectory runs an HTTP directory with the given arguments until the test ends.
func NewDirectory(t testing.TB, args ...string) *Directory {
	t.Helper()
	dir := t.TempDir()
	program := filepath.Join(dir, "directory")
	if out, err := exec.Command("go", "build", "-o", program, "latchkey/examples/directory").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	url, process := imstest.StartDirectory(t, program, people(t), args...)
	return &Directory{URL: url, t: t, process: process}
}

// Kill ends the directory, as a crash does. It answers nobody any more.
func (d *Directory) Kill() {
	_ = d.process.Kill()
	imstest.Eventually(d.t, Patience, func() bool {
		c, err := net.Dial("tcp", strings.TrimPrefix(d.URL, "http://"))
		if err == nil {
			_ = c.Close()
		}
		return err != nil
	})
}

// Silence stops the directory where it stands: it takes connections and answers nobody.
func (d *Directory) Silence() {
	_ = d.process.Signal(syscall.SIGSTOP)
	imstest.Eventually(d.t, Patience, func() bool { // a signal reaches one thread after the other
		threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", d.process.Pid))
		for _, t := range threads {
			text, _ := os.ReadFile(t)
			if _, state, _ := strings.Cut(string(text), ") "); !strings.HasPrefix(state, "T") {
				return false
			}
		}
		return len(threads) > 0
	})
}
