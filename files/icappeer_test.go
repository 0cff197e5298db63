package files_test

import (
	"bytes"
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
	"latchkey/files/icap"
	"latchkey/imstest"
)

// realICAP is Debian's c-icap with its services echo and virus_scan, the latter before ClamAV's daemon.
type realICAP struct {
	t       *testing.T
	dir     string
	addr    string
	process *exec.Cmd
	log     bytes.Buffer
}

func startICAP(t *testing.T, d *realClamd) *realICAP {
	t.Helper()
	s := &realICAP{t: t}
	var err error
	if s.dir, err = os.MkdirTemp("", "icap"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(s.dir) })
	s.addr = imstest.FreePort(t)
	// virus_scan is a package of its own, and so is the module that asks clamd.
	path := program(t, "c-icap", "c-icap libc-icap-mod-virus-scan")
	modules, _ := filepath.Glob("/usr/lib/*/c_icap/clamd_mod.so")
	if len(modules) == 0 {
		program(t, "c-icap's clamd_mod.so", "libc-icap-mod-virus-scan")
	}
	conf := strings.Join([]string{
		"PidFile " + s.dir + "/pid", "CommandsSocket " + s.dir + "/ctl", "Port " + s.addr, "TmpDir " + s.dir, "StartServers 1", "MaxServers 2", "ThreadsPerChild 10",
		"MaxKeepAliveRequests 100", "KeepAliveTimeout 60", "Timeout 60", "ModulesDir " + filepath.Dir(modules[0]), "ServicesDir " + filepath.Dir(modules[0]),
		"TemplateDir /usr/share/c_icap/templates/", "TemplateDefaultLanguage en", "LoadMagicFile /etc/c-icap/c-icap.magic", "ServerLog " + s.dir + "/server.log",
		"AccessLog " + s.dir + "/access.log", "DebugLevel 1", "Service echo srv_echo.so",
		"Module common clamd_mod.so", "clamd_mod.ClamdSocket " + d.socket, "Service antivirus_module virus_scan.so", "ServiceAlias avscan virus_scan?allow204=on&sizelimit=off&mode=simple",
		"virus_scan.ScanFileTypes TEXT DATA EXECUTABLE ARCHIVE GIF JPEG MSOFFICE", "virus_scan.SendPercentData 5", "virus_scan.StartSendPercentDataAfter 64M", "virus_scan.MaxObjectSize 100M",
		"virus_scan.DefaultEngine clamd", "",
	}, "\n")
	if err := os.WriteFile(filepath.Join(s.dir, "c-icap.conf"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	s.process = exec.Command(path, "-N", "-f", filepath.Join(s.dir, "c-icap.conf"))
	s.process.Stdout, s.process.Stderr = &s.log, &s.log
	if err := s.process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = s.process.Process.Signal(os.Interrupt)
		_ = s.process.Wait()
		if t.Failed() {
			log, _ := os.ReadFile(s.dir + "/server.log")
			t.Logf("c-icap: %s%s", s.log.String(), log)
		}
	})
	imstest.Eventually(t, time.Minute, func() bool {
		c, err := net.Dial("tcp", s.addr)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	return s
}

func (s *realICAP) client(service string) *icap.Client {
	s.t.Helper()
	c, err := icap.New("icap://"+s.addr+"/"+service, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = c.Close() })
	return c
}

// X3: what c-icap and ClamAV behind it say of files of all sizes, on few connections; what they can't say is an error.
func TestCICAPFindsWhatClamAVFinds(t *testing.T) {
	d := startClamd(t)
	s := startICAP(t, d)
	virus := s.client("avscan")
	for range 2 { // also on a connection that was used
		for _, c := range []struct {
			name    string
			body    []byte
			finding string
		}{
			{"empty", nil, ""},
			{"within the preview", noise(100), ""},
			{"the preview", noise(1024), ""},
			{"one more", noise(1025), ""},
			{"long", noise(700_000), ""},
			{"harmful", []byte(eicar), "Test.Eicar"},
			{"harmful, deep within", append(noise(200_000), eicar...), "Test.Eicar"},
			{"harmful, as a whole", []byte(known), "Test.Whole"},
		} {
			finding, err := virus.Scan(t.Context(), bytes.NewReader(c.body))
			if err != nil || !strings.HasPrefix(finding, c.finding) || c.finding == "" && finding != "" {
				t.Errorf("%s: %q, %v", c.name, finding, err)
			}
		}
	}
	service, err := virus.Options(t.Context())
	if err != nil || service.Preview != 1024 || !service.Allow || service.ISTag == "" {
		t.Errorf("the service says %+v, %v", service, err)
	}
	echo := s.client("echo")
	for _, n := range []int{0, 1, 1024, 1025, 3 << 20} {
		if finding, err := echo.Scan(t.Context(), bytes.NewReader(noise(n))); finding != "" || err != nil {
			t.Errorf("echo of %d octets: %q, %v", n, finding, err)
		}
		// What can't be read twice goes as well, on connections of its own.
		if finding, err := echo.Scan(t.Context(), io.LimitReader(bytes.NewReader(noise(n)), 1<<30)); finding != "" || err != nil {
			t.Errorf("echo of %d octets of a stream: %q, %v", n, finding, err)
		}
	}
	if finding, err := s.client("nothing").Scan(t.Context(), strings.NewReader("x")); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("a service that isn't there: %q, %v", finding, err)
	}
	if log, err := os.ReadFile(s.dir + "/access.log"); err == nil {
		t.Logf("%d answers", bytes.Count(log, []byte("\n")))
	}
}

// X3, R33: a vault behind c-icap keeps what is clean, refuses what is not, and asks to come again while nobody can look.
func TestVaultGoesByCICAP(t *testing.T) {
	d := startClamd(t)
	s := startICAP(t, d)
	c := open(t, files.Options{Scanner: s.client("avscan")})
	store := func(body []byte) error {
		t.Helper()
		_, err := c.offer(c.file(latchkey.ToInviter, len(body)), body)
		return err
	}
	if err := store(noise(50_000)); err != nil {
		t.Error(err)
	}
	if err := store([]byte(fmt.Sprintf("%s\n%s", noise(3000), eicar))); !latchkey.Is(err, latchkey.KindNotAllowed) {
		t.Errorf("harmful: %v", err)
	}
	d.kill() // c-icap stands, and can't look
	if err := store([]byte(eicar)); !latchkey.Is(err, latchkey.KindUnavailable) {
		t.Errorf("without ClamAV: %v", err)
	}
}
