package scenarios

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"latchkey/imstest"
)

var (
	kamailioCommand = regexp.MustCompile(`(?m)^.*?(kamailio -f (\S+) (?:.*\\\n)*.*)$`)
	scenarioRow     = regexp.MustCompile("(?m)^\\| `([a-z0-9-]+\\.xml)` \\| [^|]+ \\| [^|]+ \\| [^|]*-sf ([a-z0-9-]+\\.xml)|^\\| `([a-z0-9-]+\\.xml)` ")
)

// What the pages say to type starts a Kamailio with everything in one directory.
func TestCommandsOfTheDocsStartKamailio(t *testing.T) {
	need(t, "kamailio", "apt-get install kamailio kamailio-autheph-modules")
	for _, c := range []struct{ page, typedIn, port string }{
		{"../docs/howto/kamailio.md", "..", "CORE_PORT"}, {"../deploy/kamailio/kamailio.cfg", "../deploy/kamailio", "CORE_PORT"}, {"README.md", ".", "CORE_PORT"},
		{"../deploy/kamailio/msrp-relay.cfg", "../deploy/kamailio", "RELAY_PORT"},
	} {
		t.Run(filepath.Base(c.page), func(t *testing.T) {
			text, err := os.ReadFile(c.page)
			if err != nil {
				t.Fatal(err)
			}
			found := kamailioCommand.FindStringSubmatch(string(text))
			if found == nil {
				t.Fatalf("no kamailio command in %s", c.page)
			}
			config, err := filepath.Abs(filepath.Join(c.typedIn, found[2]))
			if err != nil {
				t.Fatal(err)
			}
			k := &core{t: t, port: freePort(t), exited: make(chan struct{}), log: &output{}}
			command := strings.Replace(found[1], found[2], config, 1)
			command = strings.Replace(command, " -A CORE_PORT=5060", "", 1) + fmt.Sprintf(" -A %s=%d", c.port, k.port)
			k.cmd = exec.Command("sh", "-c", "mkdir -p run && exec "+command)
			k.cmd.Dir = t.TempDir()
			k.cmd.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin")
			k.cmd.Stdout, k.cmd.Stderr = k.log, k.log
			k.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
			if err := k.cmd.Start(); err != nil {
				t.Fatal(err)
			}
			go func() { // ends with the process, which stop ends
				_ = k.cmd.Wait()
				close(k.exited)
			}()
			t.Cleanup(k.stop)
			start := time.Now()
			imstest.Eventually(t, patience, func() bool {
				select {
				case <-k.exited:
					t.Fatalf("%s\nended after %v:\n%s", command, time.Since(start), k.log)
				default:
				}
				var version string
				return k.call("core.version", &version) == nil
			})
			if _, err := os.Stat(filepath.Join(k.cmd.Dir, "run", "kamailio.pid")); err != nil {
				t.Errorf("%s: %v", command, err)
			}
			if c.port != "CORE_PORT" {
				return
			}
			if got := k.accounts(); len(got) != 0 {
				t.Errorf("accounts %v in a fresh core", got)
			}
		})
	}
}

// Each scenario has a row in README.md that runs it, and each row a scenario.
func TestEveryScenarioHasItsRow(t *testing.T) {
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]string{}
	for _, m := range scenarioRow.FindAllStringSubmatch(string(text), -1) {
		rows[m[1]+m[3]] = m[2]
	}
	files, err := filepath.Glob("*.xml")
	if err != nil || len(files) == 0 {
		t.Fatalf("scenarios: %v, %v", files, err)
	}
	for _, f := range files {
		if runs, ok := rows[f]; !ok || runs != f {
			t.Errorf("%s has the row %v of README.md, which runs %q", f, ok, runs)
		}
		delete(rows, f)
	}
	for f := range rows {
		t.Errorf("README.md has a row of %s, which is not there", f)
	}
}
