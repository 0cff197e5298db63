package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// X7: systemd takes the unit as it stands, and the unit runs the gateway by a command that there is.
func TestSystemdTakesTheUnit(t *testing.T) {
	t.Parallel()
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("systemd-analyze is missing: apt-get install systemd")
		}
		t.Skip("systemd-analyze is missing: apt-get install systemd")
	}
	text, err := os.ReadFile("../../deploy/latchkey.service")
	if err != nil {
		t.Fatal(err)
	}
	verify := func(unit string) (string, error) {
		path := filepath.Join(t.TempDir(), "latchkey.service")
		if err := os.WriteFile(path, []byte(unit), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(analyze, "verify", "--man=no", path).CombinedOutput()
		return string(out), err
	}
	here, err := os.Executable() // something that can be run, in the program's place
	if err != nil {
		t.Fatal(err)
	}
	unit := strings.ReplaceAll(string(text), "/usr/local/bin/latchkey", here)
	if out, err := verify(unit); err != nil || strings.Contains(out, "latchkey.service") {
		t.Errorf("%v\n%s", err, out)
	}
	if out, _ := verify(strings.Replace(unit, "ProtectHome", "ProtectHouse", 1)); !strings.Contains(out, "ProtectHouse") {
		t.Errorf("a mistake in the unit is not seen: %s", out)
	}
	run := regexp.MustCompile(`(?m)^ExecStart=/usr/local/bin/latchkey (.*)$`).FindStringSubmatch(string(text))
	if run == nil || !strings.HasPrefix(run[1], "serve --config ") {
		t.Errorf("ExecStart: %q", run)
	}
}
