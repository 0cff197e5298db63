package scenarios

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"latchkey/imstest"
)

// phone is SIPp in the part of A: one address, on which scenarios run one after another.
type phone struct {
	t         *testing.T
	core      *core
	user      string // of cc.com
	port      int
	more      []string // options of SIPp
	transport string   // SIPp's -t; "": UDP, as t1: TCP
}

func newPhone(t *testing.T, c *core, user string) *phone {
	t.Helper()
	need(t, "sipp", "apt-get install sip-tester")
	return &phone{t: t, core: c, user: user, port: freePort(t)}
}

// register registers the phone at the core, by register.xml.
func (p *phone) register() {
	p.t.Helper()
	p.start("register.xml").wait()
	if got := p.core.registered(p.user + "@cc.com"); len(got) != 1 {
		p.t.Fatalf("%s has %d contacts, want 1", p.user, len(got))
	}
}

// run is one SIPp under way.
type run struct {
	t        *testing.T
	name     string
	cmd      *exec.Cmd
	dir      string
	out      *output
	limit    time.Duration
	finished chan struct{} // closed when the process is gone
	err      error
}

// start runs a scenario for one call. Pairs of key and value replace [key] in it. A scenario that waits
// for a request is ready when start returns.
func (p *phone) start(scenario string, keys ...string) *run {
	p.t.Helper()
	return p.sipp(scenario, 1, 2*patience, keys)
}

// rest runs a scenario for any number of calls, until run.end.
func (p *phone) rest(scenario string, keys ...string) *run {
	p.t.Helper()
	return p.sipp(scenario, 1000, 5*patience, keys)
}

func (p *phone) sipp(scenario string, calls int, limit time.Duration, keys []string) *run {
	p.t.Helper()
	program := need(p.t, "sipp", "apt-get install sip-tester")
	file, err := filepath.Abs(scenario)
	if err != nil {
		p.t.Fatal(err)
	}
	dir := p.t.TempDir()
	args := []string{
		p.core.hostport(), "-sf", file, "-i", "127.0.0.1", "-p", fmt.Sprint(p.port), "-m", fmt.Sprint(calls), "-nostdin",
		"-timeout", fmt.Sprint(int(limit.Seconds()), "s"), "-timeout_error",
		"-trace_msg", "-message_file", "messages", "-trace_err", "-error_file", "errors", "-key", "user", p.user, "-key", "domain", "cc.com",
	}
	args = append(args, p.more...)
	if p.transport != "" {
		args = append(args, "-t", p.transport)
	}
	for i := 0; i < len(keys); i += 2 {
		args = append(args, "-key", keys[i], keys[i+1])
	}
	r := &run{t: p.t, name: scenario, dir: dir, out: &output{}, limit: limit, finished: make(chan struct{})}
	r.cmd = exec.Command(program, args...)
	r.cmd.Dir, r.cmd.Stdout, r.cmd.Stderr = dir, r.out, r.out
	r.cmd.Env = append(os.Environ(), "TERM=dumb")
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := r.cmd.Start(); err != nil {
		p.t.Fatalf("start sipp: %v", err)
	}
	go func() { // ends with the process, which -timeout or stop ends
		r.err = r.cmd.Wait()
		close(r.finished)
	}()
	p.t.Cleanup(r.stop)
	imstest.Eventually(p.t, patience, func() bool {
		select {
		case <-r.finished:
			return true
		default:
			return bound(p.t, p.port, p.transport)
		}
	})
	return r
}

// wait waits for the end of the scenario, which must be the good one.
func (r *run) wait() {
	r.t.Helper()
	select {
	case <-r.finished:
	case <-time.After(r.limit + patience): // SIPp's own -timeout is shorter
		r.t.Fatalf("%s does not end:\n%s", r.name, r.messages())
	}
	if r.err != nil {
		r.t.Errorf("%s: %v\n%s\n%s", r.name, r.err, r.file("errors"), r.messages())
	}
}

// end lets SIPp finish the calls that it has and take no more. All of them must be good.
func (r *run) end() {
	r.t.Helper()
	_ = r.cmd.Process.Signal(syscall.SIGUSR1)
	r.wait()
}

// count is how often a text stands in what SIPp sent and received.
func (r *run) count(text string) int { return strings.Count(r.messages(), text) }

var callIDLine, cseqLine = regexp.MustCompile(`(?m)^Call-ID:(.*)$`), regexp.MustCompile(`(?m)^CSeq:(.*)$`)

// requests counts the requests of a method that have a text in them, each once, however often a slow phone was asked.
func (r *run) requests(method, text string) int {
	found := map[string]bool{}
	for _, m := range strings.Split(r.messages(), "\n"+method+" sip:")[1:] {
		id, seq := callIDLine.FindString(m), cseqLine.FindString(m)
		if strings.Contains(m, text) {
			found[id+seq] = true
		}
	}
	return len(found)
}

// await waits for a text in what SIPp sent and received.
func (r *run) await(text string) {
	r.t.Helper()
	imstest.Eventually(r.t, patience, func() bool { return r.count(text) > 0 })
}

var pathLine = regexp.MustCompile(`a=path:(msrp://\S+)`)

// remotePath is the MSRP path in the first session description that is not A's own.
func (r *run) remotePath(own *imstest.Media) (path string) {
	r.t.Helper()
	imstest.Eventually(r.t, patience, func() bool {
		for _, m := range pathLine.FindAllStringSubmatch(r.messages(), -1) {
			if !strings.HasSuffix(m[1], "/"+own.ID()+";tcp") {
				path = m[1]
			}
		}
		return path != ""
	})
	return path
}

// messages is what SIPp sent and received.
func (r *run) messages() string { return r.file("messages") }

func (r *run) file(name string) string {
	b, err := os.ReadFile(filepath.Join(r.dir, name))
	if err != nil {
		return fmt.Sprintf("(no %s of %s: %v)", name, r.name, err)
	}
	return string(b)
}

func (r *run) stop() {
	select {
	case <-r.finished:
	default:
		_ = r.cmd.Process.Kill()
		<-r.finished
		r.t.Errorf("%s was not over:\n%s", r.name, r.messages())
	}
}

// bound reports whether somebody has the port of the transport: of TCP one who listens, connects or is connected, since the connections of a run
// that is over stay for a minute.
func bound(t *testing.T, port int, transport string) bool {
	kind, states := "udp", []string{"07"}
	if transport == "t1" {
		kind, states = "tcp", []string{"0A", "02", "01"}
	}
	table, err := os.ReadFile("/proc/net/" + kind)
	if err != nil {
		t.Fatal(err)
	}
	own := fmt.Sprintf("0100007F:%04X", port)
	for line := range strings.Lines(string(table)) {
		if f := strings.Fields(line); len(f) > 3 && f[1] == own && slices.Contains(states, f[3]) {
			return true
		}
	}
	return false
}
