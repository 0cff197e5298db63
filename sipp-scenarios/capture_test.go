package scenarios

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"latchkey/imstest"
)

// capture is what tshark records of some ports of the loopback interface.
type capture struct {
	t         *testing.T
	program   string
	file      string
	sip, msrp []int
	end       string // host:port of a datagram that marks the end
	cmd       *exec.Cmd
	log       *output
	exited    chan struct{}
}

// record begins to record. It is nil where there is no tshark or it may not capture; that fails no test, since
// the flow is proven without it.
func record(t *testing.T, sip, msrp []int) *capture {
	t.Helper()
	program, err := exec.LookPath("tshark")
	if err != nil {
		t.Log("not recorded: tshark is not installed; get it by: apt-get install tshark")
		return nil
	}
	c := &capture{
		t: t, program: program, file: filepath.Join(t.TempDir(), "flow.pcapng"), sip: sip, msrp: msrp,
		log: &output{}, exited: make(chan struct{}),
	}
	end := freePort(t)
	c.end = fmt.Sprintf("127.0.0.1:%d", end)
	ports := []string{fmt.Sprint("port ", end)}
	for _, p := range slices.Concat(sip, msrp) {
		ports = append(ports, fmt.Sprint("port ", p))
	}
	c.cmd = exec.Command(program, "-i", "lo", "-q", "-a", "duration:600", "-w", c.file, "-f", strings.Join(ports, " or "))
	c.cmd.Stdout, c.cmd.Stderr = c.log, c.log
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := c.cmd.Start(); err != nil {
		t.Logf("not recorded: %v", err)
		return nil
	}
	go func() { // ends with the process, which stop or the cleanup ends
		_ = c.cmd.Wait()
		close(c.exited)
	}()
	t.Cleanup(c.stop)
	running := false
	imstest.Eventually(t, patience, func() bool {
		select {
		case <-c.exited:
			return true
		default:
		}
		running = strings.Contains(c.log.String(), "Capture started")
		return running
	})
	if !running {
		t.Logf("not recorded, since tshark may not capture here:\n%s", c.log)
		return nil
	}
	return c
}

// settle waits until all that was sent so far is in the file: tshark gets packets in blocks, and loses the last one
// when it is stopped.
func (c *capture) settle() {
	c.t.Helper()
	mark := []byte("end of the flow")
	conn, err := net.Dial("udp", c.end)
	if err != nil {
		c.t.Fatal(err)
	}
	defer conn.Close()
	imstest.Eventually(c.t, patience, func() bool {
		_, _ = conn.Write(mark)
		b, err := os.ReadFile(c.file)
		return err == nil && bytes.Contains(b, mark)
	})
}

// stop ends tshark and its child, which are a process group of their own.
func (c *capture) stop() {
	select {
	case <-c.exited:
		return
	default:
	}
	_ = c.cmd.Process.Signal(os.Interrupt)
	select {
	case <-c.exited:
	case <-time.After(patience):
		_ = syscall.Kill(-c.cmd.Process.Pid, syscall.SIGKILL)
		<-c.exited
	}
}

// packets lists the fields of those that a display filter finds.
func (c *capture) packets(filter string, fields ...string) [][]string {
	c.t.Helper()
	// The mark is no protocol, though its port may be one's by chance.
	_, end, _ := strings.Cut(c.end, ":")
	args := []string{"-r", c.file, "-n", "-Y", filter, "-T", "fields", "-d", "udp.port==" + end + ",data"}
	for _, f := range fields {
		args = append(args, "-e", f)
	}
	for _, p := range c.sip {
		args = append(args, "-d", fmt.Sprintf("udp.port==%d,sip", p), "-d", fmt.Sprintf("tcp.port==%d,sip", p))
	}
	for _, p := range c.msrp {
		args = append(args, "-d", fmt.Sprintf("tcp.port==%d,msrp", p))
	}
	ctx, cancel := context.WithTimeout(c.t.Context(), 2*patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, c.program, args...).Output()
	if err != nil {
		c.t.Fatalf("tshark -Y %q: %v", filter, err)
	}
	var all [][]string
	for line := range strings.Lines(string(out)) {
		all = append(all, strings.Split(strings.TrimSuffix(line, "\n"), "\t"))
	}
	return all
}

// seen is how often a field has a value, at least; "": any.
type seen struct {
	field, value string
	least        int
}

// ofMainFlow is what a capture of the main flow has.
var ofMainFlow = []seen{
	{"sip.Method", "REGISTER", 4}, {"sip.Method", "OPTIONS", 2}, {"sip.Method", "INVITE", 4}, {"sip.Method", "ACK", 4}, {"sip.Method", "BYE", 4},
	{"sip.Status-Code", "200", 10}, {"sip.Status-Code", "404", 1}, {"sdp.media", "", 6}, {"msrp.method", "SEND", 12}, {"msrp.status.code", "200", 12},
}

// inspect holds what was recorded against tshark's own reading of SIP, SDP and MSRP.
func (c *capture) inspect(wanted []seen) {
	c.t.Helper()
	if c == nil {
		return
	}
	c.settle()
	c.stop()
	fields := []string{"sip.Method", "sip.Status-Code", "sdp.media", "msrp.method", "msrp.status.code"}
	all := c.packets("sip or msrp", fields...)
	for _, want := range wanted {
		n, i := 0, slices.Index(fields, want.field)
		for _, p := range all {
			for v := range strings.SplitSeq(p[i], ",") { // a TCP segment may hold several messages, by chance
				if v != "" && (want.value == "" || want.value == v) {
					n++
				}
			}
		}
		c.t.Logf("tshark: %d times %s %s", n, want.field, want.value)
		if n < want.least {
			c.t.Errorf("recorded %d times %s %s, want %d at least", n, want.field, want.value, want.least)
		}
	}
	bad := c.packets("_ws.malformed", "frame.number", "_ws.col.Protocol", "_ws.col.Info")
	c.t.Logf("tshark: %d malformed of %d packets with SIP or MSRP", len(bad), len(all))
	for _, p := range bad {
		c.t.Errorf("malformed: %s", p)
	}
}
