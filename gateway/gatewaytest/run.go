package gatewaytest

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"latchkey/gateway"
	"latchkey/imstest"
)

// running is a gateway that runs.
type running struct {
	url, admin string
	stop, kill func()
	process    *os.Process // nil: the gateway is in this process
}

// Start runs the gateway on the world's data; New has done so, and after Stop or Kill it may be started again.
func (w *World) Start() {
	w.t.Helper()
	if len(w.command) > 0 {
		w.running = w.process()
	} else {
		w.running = w.inside()
	}
	imstest.Eventually(w.t, Patience, func() bool { return ready(w.running.admin) })
}

// URL is the base of the gateway's HTTP interface.
func (w *World) URL() string { return w.running.url }

// Admin is host:port of /metrics, /healthz and /readyz.
func (w *World) Admin() string { return w.running.admin }

// Metrics is what the gateway tells Prometheus.
func (w *World) Metrics() string {
	w.t.Helper()
	res, err := http.Get("http://" + w.Admin() + "/metrics")
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return string(text)
}

// Metric is the value of one of them, "" where there is none. Its name has its labels, as in a{b="c"}.
func (w *World) Metric(name string) string {
	w.t.Helper()
	for line := range strings.Lines(w.Metrics()) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSuffix(value, "\n")
		}
	}
	return ""
}

// Dialogs is how many SIP dialogs stand, by the gateway's metrics.
func (w *World) Dialogs() int {
	w.t.Helper()
	n, err := strconv.Atoi(w.Metric("latchkey_b2bua_dialogs"))
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

// Stop drains the gateway and waits until it has ended.
func (w *World) Stop() {
	w.running.stop()
	http.DefaultClient.CloseIdleConnections() // or a request could meet the end of one, and a POST is not sent twice
}

// Kill ends the gateway's process with SIGKILL. It needs Plan.Command.
func (w *World) Kill() {
	w.running.kill()
	http.DefaultClient.CloseIdleConnections()
}

// PID is the gateway's process. It needs Plan.Command.
func (w *World) PID() int { return w.running.process.Pid }

// Signal sends a signal to the gateway's process. It needs Plan.Command.
func (w *World) Signal(s os.Signal) error { return w.running.process.Signal(s) }

func (w *World) inside() *running {
	w.t.Helper()
	config, err := gateway.Load(w.args, func(string) string { return "" })
	if err != nil {
		w.t.Fatal(err)
	}
	config.ServeAll = !w.sheds
	g, err := gateway.New(config, slog.New(slog.NewTextHandler(w.Log, &slog.HandlerOptions{Level: config.Log.Level})))
	if err != nil {
		w.t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- g.Run(context.Background()) }() // ends with Shutdown
	url := g.URL()
	if config.PublicURL != "" { // that is for people out there
		url = "http://" + g.Addrs().HTTP
	}
	return &running{url: url, admin: g.Addrs().Admin, stop: sync.OnceFunc(func() {
		ctx, cancel := context.WithTimeout(context.Background(), Patience)
		defer cancel()
		if err := g.Shutdown(ctx); err != nil {
			w.t.Errorf("Shutdown = %v", err)
		}
		if err := <-ended; err != nil {
			w.t.Errorf("Run = %v", err)
		}
	})}
}

// serving is the line that the gateway logs when it is ready.
var serving = regexp.MustCompile(`msg=serving url=(\S+) http=\S+ admin=(\S+)`)

func (w *World) process() *running {
	w.t.Helper()
	cmd := exec.Command(w.command[0], append(append([]string{}, w.command[1:]...), w.args...)...)
	cmd.Env = append(os.Environ(), w.env...)
	before := len(w.Log.String())
	cmd.Stdout, cmd.Stderr = w.Log, w.Log
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }() // ends with the process
	r := running{process: cmd.Process}
	end := sync.OnceFunc(func() {
		select {
		case err := <-ended:
			if err != nil {
				w.t.Errorf("the gateway ended with %v", err)
			}
		case <-time.After(Patience):
			_ = cmd.Process.Kill()
			w.t.Errorf("the gateway does not end")
		}
	})
	r.stop = func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		end()
	}
	r.kill = sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		<-ended
		ended <- nil
	})
	imstest.Eventually(w.t, Patience, func() bool {
		m := serving.FindStringSubmatch(w.Log.String()[before:])
		if m != nil {
			r.url, r.admin = strings.Trim(m[1], `"`), m[2]
		}
		return m != nil
	})
	return &r
}
