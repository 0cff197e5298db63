package scenarios

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"latchkey/imstest"
)

const patience = time.Minute

// core is a Kamailio that the test started.
type core struct {
	t      *testing.T
	port   int
	cmd    *exec.Cmd
	exited chan struct{} // closed when the process is gone
	log    *output
	papers *papers // nil: no TLS
	secure int     // port for TLS
}

// startCore runs Kamailio with deploy/kamailio/kamailio.cfg until the test ends. Each define is a
// setting from the head of that file, such as `AUTH_SHARED="s3cret"`.
func startCore(t *testing.T, defines ...string) *core {
	t.Helper()
	return startKamailio(t, "kamailio.cfg", "CORE_PORT", defines...)
}

// startKamailio runs Kamailio with a file of deploy/kamailio, whose setting for the port has the name that is given.
func startKamailio(t *testing.T, file, port string, defines ...string) *core {
	t.Helper()
	program := need(t, "kamailio", "apt-get install kamailio kamailio-autheph-modules")
	config, err := filepath.Abs("../deploy/kamailio/" + file)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	c := &core{t: t, port: freePort(t), exited: make(chan struct{}), log: &output{}}
	args := []string{
		"-f", config, "-DD", "-E", "-m", "64", "-M", "8", "-x", "fm", "-P", filepath.Join(dir, "kamailio.pid"), "-Y", dir, "-w", dir,
		"-A", fmt.Sprintf("%s=%d", port, c.port),
	}
	for _, d := range defines {
		args = append(args, "-A", d)
	}
	c.cmd = exec.Command(program, args...)
	c.cmd.Stdout, c.cmd.Stderr = c.log, c.log
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := c.cmd.Start(); err != nil {
		t.Fatalf("start kamailio: %v", err)
	}
	go func() { // ends with the process, which stop ends
		_ = c.cmd.Wait()
		close(c.exited)
	}()
	t.Cleanup(c.stop)
	imstest.Eventually(t, patience, func() bool {
		select {
		case <-c.exited:
			t.Fatalf("kamailio ended:\n%s", c.log)
		default:
		}
		var version string
		return c.call("core.version", &version) == nil
	})
	return c
}

// leaving is how long Kamailio may take to end.
const leaving = 5 * time.Second

// stop ends Kamailio and its children, which are a process group of their own.
func (c *core) stop() {
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-c.exited:
	case <-time.After(leaving):
		// Now and then 5.6 waits for a child of its own for ever; no fault of what was tested.
		_ = syscall.Kill(-c.cmd.Process.Pid, syscall.SIGKILL)
		<-c.exited
		c.t.Log("kamailio did not end by itself and was killed")
	}
	if c.t.Failed() {
		c.t.Logf("kamailio said:\n%s", c.log)
	}
}

func (c *core) uri() string { return fmt.Sprintf("sip:127.0.0.1:%d", c.port) }

// hostport is where phones send to.
func (c *core) hostport() string { return fmt.Sprintf("127.0.0.1:%d", c.port) }

// call runs one of Kamailio's RPC commands over HTTP.
func (c *core) call(method string, result any, params ...any) error {
	body, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": 1, "method": method, "params": append([]any{}, params...)})
	if err != nil {
		return err
	}
	client := http.Client{Timeout: patience}
	defer client.CloseIdleConnections()
	res, err := client.Post("http://"+c.hostport()+"/RPC", "application/json", bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer res.Body.Close()
	var answer struct {
		Result json.RawMessage
		Error  *struct {
			Code    int
			Message string
		}
	}
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		return fmt.Errorf("%s: %s: %w", method, res.Status, err)
	}
	if answer.Error != nil {
		return &rpcError{answer.Error.Code, answer.Error.Message}
	}
	return json.Unmarshal(answer.Result, result)
}

type rpcError struct {
	code    int
	message string
}

func (e *rpcError) Error() string { return fmt.Sprintf("rpc: %d %s", e.code, e.message) }

// contact is what Kamailio keeps of one registered contact.
type contact struct {
	Address   string
	Expires   int
	CallID    string `json:"Call-ID"`
	CSeq      int
	UserAgent string `json:"User-Agent"`
}

// registered lists the contacts of an account, as Kamailio's `ul.lookup` shows them.
func (c *core) registered(aor string) []contact {
	c.t.Helper()
	var found struct {
		Contacts []struct{ Contact contact }
	}
	err := c.call("ul.lookup", &found, "location", aor)
	if rpc, ok := errors.AsType[*rpcError](err); ok && rpc.code == 500 && strings.Contains(rpc.message, "not found") {
		return nil
	}
	if err != nil {
		c.t.Fatalf("ul.lookup %s: %v", aor, err)
	}
	all := make([]contact, len(found.Contacts))
	for i, x := range found.Contacts {
		all[i] = x.Contact
	}
	return all
}

// accounts lists all addresses of record that have a contact, as `ul.dump` shows them.
func (c *core) accounts() []string {
	c.t.Helper()
	var dump struct {
		Domains []struct {
			Domain struct {
				AoRs []struct{ Info struct{ AoR string } }
			}
		}
	}
	if err := c.call("ul.dump", &dump); err != nil {
		c.t.Fatalf("ul.dump: %v", err)
	}
	var all []string
	for _, d := range dump.Domains {
		for _, a := range d.Domain.AoRs {
			all = append(all, a.Info.AoR)
		}
	}
	slices.Sort(all)
	return all
}

// need finds a program. A missing one fails the test under CI and else skips it.
func need(t *testing.T, name, how string) string {
	t.Helper()
	tools := os.Getenv("LATCHKEY_TOOLS")
	if cache, err := os.UserCacheDir(); tools == "" && err == nil {
		tools = filepath.Join(cache, "latchkey", "tools")
	}
	for _, candidate := range []string{name, "/usr/sbin/" + name, "/usr/bin/" + name, filepath.Join(tools, name)} {
		if path, err := exec.LookPath(candidate); err == nil {
			return path
		}
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is not installed; get it by: %s", name, how)
	}
	t.Skipf("%s is not installed; get it by: %s", name, how)
	return ""
}

// The ports of these tests lie above those that the system hands out for outgoing connections, one of which could else take a port before the
// program that is to listen there; and other packages' tests take theirs below. lastPort counts through them, so that nobody here gets one
// that a phone has which is not running just now.
const firstPort, allPorts = 61000, 4500

var lastPort = func() *atomic.Uint32 {
	var n atomic.Uint32
	n.Store(rand.Uint32N(allPorts))
	return &n
}()

// freePort finds a port of 127.0.0.1 that is free for UDP and TCP.
func freePort(t *testing.T) int {
	t.Helper()
	for range allPorts {
		addr := fmt.Sprintf("127.0.0.1:%d", firstPort+lastPort.Add(1)%allPorts)
		ln, err := net.Listen("tcp", addr)
		if err != nil {
			continue
		}
		conn, err := net.ListenPacket("udp", addr)
		_ = ln.Close()
		if err == nil {
			_ = conn.Close()
			return ln.Addr().(*net.TCPAddr).Port
		}
	}
	t.Fatal("no free port")
	return 0
}

// output collects what a program prints.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

// String is the end of it.
func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	const most = 20000
	b := o.text.Bytes()
	return string(b[max(0, len(b)-most):])
}
