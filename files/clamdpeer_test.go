package files_test

import (
	"bytes"
	"crypto/md5"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"latchkey"
	"latchkey/files"
	"latchkey/imstest"
)

// eicar is the text by which one tries scanners, and which harms nobody. It stands here in two halves, so that no scanner takes this file.
const eicar = `X5O!P%@AP[4\PZX54(P^)7CC)7}$` + `EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*`

// known is a file that the test's signatures name as a whole.
const known = "This file is harmful, says its hash."

// program finds a program of Debian's, or ends the test.
func program(t *testing.T, name, debian string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err == nil {
		return path
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is missing: apt-get install --no-install-recommends %s", name, debian)
	}
	t.Skipf("%s is missing; Debian's package %s has it, and ./test.sh installs it", name, debian)
	return ""
}

// realClamd is ClamAV's own daemon with one signature in its data base, on a UNIX socket and a TCP port.
type realClamd struct {
	t                 *testing.T
	program           string
	dir, socket, addr string
	process           *exec.Cmd
	log               bytes.Buffer
}

// streamMax is the daemon's limit of a stream.
const streamMax = 1 << 20

func startClamd(t *testing.T) *realClamd {
	t.Helper()
	d := &realClamd{t: t, program: program(t, "clamd", "clamav-daemon")}
	var err error
	if d.dir, err = os.MkdirTemp("", "clamd"); err != nil { // a socket's path is short
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(d.dir) })
	d.socket = filepath.Join(d.dir, "s")
	d.addr = imstest.FreePort(t)
	_, port, _ := net.SplitHostPort(d.addr)
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(d.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(d.dir, "db"), 0o700); err != nil {
		t.Fatal(err)
	}
	// One signature by a whole file's hash, one by a text wherever in a file it is.
	write("db/test.hdb", fmt.Sprintf("%x:%d:Test.Whole\n", md5.Sum([]byte(known)), len(known)))
	write("db/test.ndb", fmt.Sprintf("Test.Eicar:0:*:%x\n", eicar[:40]))
	write("clamd.conf", strings.Join([]string{
		"DatabaseDirectory " + d.dir + "/db", "LocalSocket " + d.socket, "TCPSocket " + port, "TCPAddr 127.0.0.1", "Foreground true", "FixStaleSocket true",
		fmt.Sprint("StreamMaxLength ", streamMax), "ConcurrentDatabaseReload no", "SelfCheck 0", "TemporaryDirectory " + d.dir, "",
	}, "\n"))
	d.start()
	t.Cleanup(d.kill)
	return d
}

// start begins the daemon, and waits until it answers on both sockets.
func (d *realClamd) start() {
	d.t.Helper()
	d.process = exec.Command(d.program, "-c", filepath.Join(d.dir, "clamd.conf"))
	d.process.Stdout, d.process.Stderr = &d.log, &d.log
	if err := d.process.Start(); err != nil {
		d.t.Fatal(err)
	}
	for _, at := range [][2]string{{"unix", d.socket}, {"tcp", d.addr}} {
		imstest.Eventually(d.t, time.Minute, func() bool {
			c, err := net.Dial(at[0], at[1])
			if err != nil {
				return false
			}
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(5 * time.Second))
			_, _ = io.WriteString(c, "zPING\x00")
			answer, _ := io.ReadAll(c)
			return string(answer) == "PONG\x00"
		})
	}
}

// kill ends it as a crash does.
func (d *realClamd) kill() {
	if d.process.ProcessState != nil {
		return
	}
	_ = d.process.Process.Kill()
	_ = d.process.Wait()
}

// X3: what ClamAV itself says of clean, harmful and too large files, on both of its sockets.
func TestClamAVIsAskedOnBothSockets(t *testing.T) {
	d := startClamd(t)
	harmless := noise(300_000)
	for _, addr := range []string{d.socket, d.addr} {
		scan := (&files.Clamd{Addr: addr}).Scan
		for _, c := range []struct {
			name    string
			body    []byte
			finding string
			fails   bool
		}{
			{"clean", harmless, "", false},
			{"empty", nil, "", false},
			{"known as a whole", []byte(known), "Test.Whole", false},
			{"known as a whole, and more", []byte(known + "."), "", false},
			{"deep within", append(bytes.Clone(harmless), eicar...), "Test.Eicar", false},
			{"as large as may be", noise(streamMax), "", false},
			{"too large", noise(streamMax + 1), "", true},
			{"much too large", noise(8 * streamMax), "", true},
		} {
			finding, err := scan(t.Context(), bytes.NewReader(c.body))
			if !strings.HasPrefix(finding, c.finding) || c.finding == "" && finding != "" || (err != nil) != c.fails {
				t.Errorf("%s, %s: %q, %v", addr, c.name, finding, err)
			}
		}
	}
}

// X3: a daemon that dies in the middle has found nothing: the file is not clean, and a new daemon is asked anew.
func TestClamAVThatDiesInTheMiddleFindsNothingClean(t *testing.T) {
	d := startClamd(t)
	scan := (&files.Clamd{Addr: d.socket}).Scan
	finding, err := scan(t.Context(), &killer{Reader: bytes.NewReader(noise(900_000)), after: 400_000, kill: d.kill})
	if finding != "" || err == nil {
		t.Errorf("half a scan: %q, %v", finding, err)
	}
	if _, err := scan(t.Context(), strings.NewReader("x")); err == nil {
		t.Error("found clean by nobody")
	}
	d.start()
	if finding, err := scan(t.Context(), strings.NewReader("x")); finding != "" || err != nil {
		t.Errorf("after the restart: %q, %v", finding, err)
	}
	if finding, err := scan(t.Context(), strings.NewReader(eicar)); finding == "" || err != nil {
		t.Errorf("after the restart, harmful: %q, %v", finding, err)
	}
}

// killer does something in the middle of being read.
type killer struct {
	io.Reader
	after int
	kill  func()
}

func (k *killer) Read(b []byte) (int, error) {
	n, err := k.Reader.Read(b)
	if k.after -= n; k.after <= 0 && k.kill != nil {
		k.kill()
		k.kill = nil
	}
	return n, err
}

// X3, R33: a vault behind a real scanner keeps nothing that ClamAV finds harmful, and nothing while it can't be asked.
func TestVaultGoesByClamAV(t *testing.T) {
	d := startClamd(t)
	c := open(t, files.Options{Scanner: &files.Clamd{Addr: d.socket}})
	store := func(body []byte) error {
		t.Helper()
		_, err := c.offer(c.file(latchkey.ToInviter, len(body)), body)
		return err
	}
	if err := store(noise(5000)); err != nil {
		t.Error(err)
	}
	if err := store([]byte(eicar)); !latchkey.Is(err, latchkey.KindNotAllowed) {
		t.Errorf("harmful: %v", err)
	}
	d.kill()
	if err := store(noise(5000)); !latchkey.Is(err, latchkey.KindUnavailable) {
		t.Errorf("without a scanner: %v", err)
	}
	if left := c.onDisk(); left != 1 {
		t.Errorf("%d files on disk, want the clean one", left)
	}
}
