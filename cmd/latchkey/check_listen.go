package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"time"

	"latchkey/gateway"
	"latchkey/internal/sipua"
)

// listenProbes look whether the gateway could listen where it is told to, or does so already.
func listenProbes(c gateway.Config) []probe {
	ours := sync.OnceValue(func() bool { return runs(c) })
	tcp := func(addr string) []string { return []string{"tcp:" + addr} }
	var all []probe
	listeners := []struct {
		option string
		addrs  []string
	}{{"http-listen", tcp(c.HTTPListen)}, {"admin-listen", tcp(c.AdminListen)}, {"sip-listen", c.SIPListen}, {"msrp-listen", c.MSRPListen}, {"mail-bounce", nil}}
	if c.MailBounce != nil {
		listeners[len(listeners)-1].addrs = tcp(c.MailBounce.Listen)
	}
	for _, l := range listeners {
		if l.addrs == nil {
			continue
		}
		all = append(all, probe{l.option, func(context.Context) (string, error) { return checkListen(l.addrs, ours) }})
	}
	return append(all, probe{"public-url", func(ctx context.Context) (string, error) { return checkPublicURL(ctx, c, ours) }})
}

// checkListen binds each address for a moment.
func checkListen(addrs []string, ours func() bool) (string, error) {
	used := false
	for _, l := range addrs {
		err := bind(l)
		switch {
		case errors.Is(err, syscall.EADDRINUSE) && ours():
			used = true
		case errors.Is(err, syscall.EADDRINUSE):
			return "", fmt.Errorf("%s is in use, and not by a gateway; end the program that has it, or name another address", l)
		case errors.Is(err, syscall.EADDRNOTAVAIL):
			return "", fmt.Errorf("%s is no address of this machine; name one of its own, or 0.0.0.0 for all", l)
		case errors.Is(err, syscall.EACCES):
			return "", fmt.Errorf("%s needs a right that this user doesn't have; take a port above 1023, or give the capability CAP_NET_BIND_SERVICE", l)
		case err != nil:
			return "", fmt.Errorf("%s: %w", l, err)
		}
	}
	text := strings.Join(addrs, ", ")
	if used {
		return text + " in use, by the gateway that runs", nil
	}
	return text + " free", nil
}

// bind listens on udp:host:port, or by TCP for whatever stands before the address otherwise.
func bind(l string) error {
	network, addr, _ := strings.Cut(l, ":")
	var listener io.Closer
	var err error
	if network == "udp" {
		listener, err = net.ListenPacket("udp", addr)
	} else {
		listener, err = net.Listen("tcp", addr)
	}
	if err != nil {
		return err
	}
	return listener.Close()
}

// runs reports whether a gateway runs already at one of the addresses: by HTTP, or by SIP.
func runs(c gateway.Config) bool {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if leads(ctx, c.BaseURL(here(c.HTTPListen))) == nil {
		return true
	}
	for _, l := range c.SIPListen {
		network, addr, _ := strings.Cut(l, ":")
		if network != "udp" && network != "tcp" {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, patience/4)
		server, err := askOptions(ctx, c, "sip:"+here(addr)+";transport="+network)
		cancel()
		if err == nil && strings.HasPrefix(server.agent, "Latchkey") {
			return true
		}
	}
	return false
}

// here is an address at which a listener of this machine can be reached.
func here(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	switch host {
	case "", "0.0.0.0":
		host = "127.0.0.1"
	case "::":
		host = "::1"
	}
	return net.JoinHostPort(host, port)
}

// errElsewhere says that somebody else answers.
var errElsewhere = errors.New("it does not lead to a gateway")

// leads reports whether a gateway is at the base URL: one that explains its problems.
func leads(ctx context.Context, base string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/problems/unauthorized", nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(res.Body, 4096))
	if res.StatusCode != http.StatusOK || !strings.Contains(string(text), "Wrong or missing credentials") {
		return fmt.Errorf("%s answers %d: %w", base, res.StatusCode, errElsewhere)
	}
	return nil
}

// answered is how a SIP server answered OPTIONS.
type answered struct {
	code          int
	reason, agent string
	network, from string // transport, host:port
	took          time.Duration
}

// askOptions asks from ports of its own, beside a running gateway.
func askOptions(ctx context.Context, c gateway.Config, uri string) (answered, error) {
	secure, err := c.SIPTLS()
	if err != nil {
		return answered{}, err
	}
	e, err := sipua.Listen(sipua.Options{Listen: anyPorts(c.SIPListen), UserAgent: "latchkey-check", TLS: secure})
	if err != nil {
		return answered{}, err
	}
	defer e.Close()
	req, err := sipua.NewRequest("OPTIONS", uri, "sip:check@"+c.Domain, uri)
	if err != nil {
		return answered{}, err
	}
	start := time.Now()
	res, err := e.Do(ctx, req)
	if err != nil {
		return answered{}, err
	}
	a := answered{code: res.StatusCode, reason: res.Reason, network: res.Transport(), from: res.Source(), took: time.Since(start).Round(time.Millisecond)}
	if h := res.GetHeader("Server"); h != nil {
		a.agent = h.Value()
	}
	return a, nil
}

// anyPorts are the listeners' addresses with ports that are free.
func anyPorts(listen []string) []string {
	free := []string{}
	for _, l := range listen {
		network, addr, _ := strings.Cut(l, ":")
		host, _, err := net.SplitHostPort(addr)
		if err == nil {
			free = append(free, network+":"+net.JoinHostPort(host, "0"))
		}
	}
	return free
}
