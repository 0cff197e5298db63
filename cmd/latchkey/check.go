package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/smtp"
	"os"
	"path/filepath"
	"strings"
	"time"

	"latchkey/directory"
	"latchkey/gateway"
	"latchkey/internal/sipua"
)

const checkUsage = `Usage: latchkey check [options]

Takes the options of latchkey serve, validates them and tries each peer once: the directory is
read, the data file can be written, the core and the interaction servers answer OPTIONS, the mail
server greets. Nothing is changed. Exit code 0 if all is well, 1 if a peer is not, 2 if an option is wrong.`

// patience is how long one peer may take to answer.
const patience = 5 * time.Second

func runCheck(ctx context.Context, args []string) error {
	config, err := loadConfig(checkUsage, args)
	if err != nil {
		return err
	}
	if !check(ctx, os.Stdout, config) {
		return errTold
	}
	return nil
}

// check tries each thing once and says for each what was found.
func check(ctx context.Context, w io.Writer, c gateway.Config) (well bool) {
	well = true
	try := func(what string, probe func(context.Context) (string, error)) {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		found, err := probe(ctx)
		if err != nil {
			well = false
			fmt.Fprintf(w, "FAIL  %-12s %v\n", what, err)
			return
		}
		fmt.Fprintf(w, "ok    %-12s %s\n", what, found)
	}
	try("directory", func(context.Context) (string, error) { return checkDirectory(c.Directory) })
	try("data", func(context.Context) (string, error) { return checkData(c.Data) })
	if c.HTTPS() {
		try("http-tls", func(context.Context) (string, error) { return checkCertificate(c.HTTPTLSCert, c.HTTPTLSKey) })
	}
	if c.SIPTLSCert != "" {
		try("sip-tls", func(context.Context) (string, error) { return checkCertificate(c.SIPTLSCert, c.SIPTLSKey) })
	}
	asked := map[string]bool{}
	for _, hop := range []struct{ option, uri string }{{"sip-core", c.SIPCore}, {"im-server", c.IMServer}, {"file-server", c.FileServer}} {
		if !asked[hop.uri] {
			asked[hop.uri] = true
			try(hop.option, func(ctx context.Context) (string, error) { return checkHop(ctx, c, hop.uri) })
		}
	}
	if c.Mail == nil {
		fmt.Fprintln(w, "note  mail         not set: invitations can't be mailed")
	} else {
		try("mail", func(ctx context.Context) (string, error) { return checkMail(ctx, c.Mail) })
	}
	return well
}

func checkDirectory(path string) (string, error) {
	if _, err := directory.OpenFile(path); err != nil {
		return "", err
	}
	return path + " is read", nil
}

// checkData finds out whether the file can be written without creating it.
func checkData(path string) (string, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err == nil {
		return path + " can be written", f.Close()
	}
	if !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	probe, err := os.CreateTemp(filepath.Dir(path), ".latchkey-check-*")
	if err != nil {
		return "", fmt.Errorf("%s can't be created: %w", path, err)
	}
	_ = probe.Close()
	if err := os.Remove(probe.Name()); err != nil {
		return "", err
	}
	return path + " can be created", nil
}

func checkCertificate(cert, key string) (string, error) {
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return "", err
	}
	left := time.Until(pair.Leaf.NotAfter)
	if left <= 0 {
		return "", fmt.Errorf("%s ran out on %s", cert, pair.Leaf.NotAfter.Format(time.DateOnly))
	}
	return fmt.Sprintf("certificate is good until %s", pair.Leaf.NotAfter.Format(time.DateOnly)), nil
}

// checkHop asks the hop for its abilities from a port of its own, beside a running
// gateway. Any answer shows that somebody speaks SIP there (RFC 3261 §11).
func checkHop(ctx context.Context, c gateway.Config, uri string) (string, error) {
	secure, err := c.SIPTLS()
	if err != nil {
		return "", err
	}
	e, err := sipua.Listen(sipua.Options{Listen: anyPorts(c.SIPListen), UserAgent: "latchkey-check", TLS: secure})
	if err != nil {
		return "", err
	}
	defer e.Close()
	req, err := sipua.NewRequest("OPTIONS", uri, "sip:check@"+c.Domain, uri)
	if err != nil {
		return "", err
	}
	start := time.Now()
	res, err := e.Do(ctx, req)
	if err != nil {
		return "", fmt.Errorf("%s does not answer OPTIONS: %w", uri, err)
	}
	return fmt.Sprintf("%s answers OPTIONS with %d %s in %s, by %s from %s",
		uri, res.StatusCode, res.Reason, time.Since(start).Round(time.Millisecond), res.Transport(), res.Source()), nil
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

// checkMail reads the server's greeting and says goodbye; it sends nothing.
func checkMail(ctx context.Context, m *gateway.Mail) (string, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", m.HostPort)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return "", err
		}
	}
	host, _, _ := net.SplitHostPort(m.HostPort)
	if m.TLS {
		conn = tls.Client(conn, &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12})
	}
	client, err := smtp.NewClient(conn, host) // reads the greeting (RFC 5321 §3.1)
	if err != nil {
		return "", fmt.Errorf("%s does not greet as a mail server: %w", m.HostPort, err)
	}
	extension, _ := client.Extension("STARTTLS")
	secured := "plain"
	switch {
	case m.TLS:
		secured = "TLS"
	case extension:
		secured = "STARTTLS offered"
	}
	if err := client.Quit(); err != nil {
		return "", fmt.Errorf("%s: %w", m.HostPort, err)
	}
	return fmt.Sprintf("%s greets (%s)", m.HostPort, secured), nil
}
