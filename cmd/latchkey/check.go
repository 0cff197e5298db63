package main

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"syscall"
	"time"

	"latchkey/gateway"
)

const checkUsage = `Usage: latchkey check [--json] [options]

Takes the options of latchkey serve, validates them and tries each thing once: files, addresses to
listen on, and the directory, the core, the interaction servers, the file store, the mail server, the
SMS centres and the MMS centre. Nothing is
changed (a bucket gets an object and loses it) and nobody is written to. It may run beside a gateway. Exit code 0 if all is well (what is noted
may be as meant), 1 if something is not, 2 if an option is wrong. --json prints a list of findings.`

// patience is how long one thing may take to answer.
const patience = 10 * time.Second

// probe is one thing that check tries. find says what was found, or what is wrong. An error that is a
// remark is no failure.
type probe struct {
	name string
	find func(context.Context) (string, error)
}

// remark is something that may be as it is meant, and should be read.
type remark string

func (r remark) Error() string { return string(r) }

// finding is what came of a probe.
type finding struct {
	Check  string `json:"check"`
	Status string `json:"status"` // ok, note or failed
	Text   string `json:"text"`
}

// probes lists all that is tried, in the order in which people read it.
func probes(c gateway.Config) []probe {
	return slices.Concat(fileProbes(c), listenProbes(c), coreProbes(c), peerProbes(c), messageProbes(c))
}

func runCheck(ctx context.Context, args []string) error {
	asJSON := slices.Contains(args, "--json")
	config, err := loadConfig(checkUsage, slices.DeleteFunc(slices.Clone(args), func(a string) bool { return a == "--json" }))
	if err != nil {
		return err
	}
	show := printLine
	if asJSON {
		show = nil
	}
	all := check(ctx, os.Stdout, probes(config), show)
	if asJSON {
		out := json.NewEncoder(os.Stdout)
		out.SetEscapeHTML(false)
		out.SetIndent("", "  ")
		if err := out.Encode(all); err != nil {
			return err
		}
	}
	if slices.ContainsFunc(all, func(f finding) bool { return f.Status == "failed" }) {
		return errTold
	}
	return nil
}

// check tries each thing once, and shows what was found as it comes.
func check(ctx context.Context, w io.Writer, all []probe, show func(io.Writer, finding)) []finding {
	findings := make([]finding, 0, len(all))
	for _, p := range all {
		f := finding{Check: p.name, Status: "ok"}
		func() {
			ctx, cancel := context.WithTimeout(ctx, patience)
			defer cancel()
			text, err := p.find(ctx)
			note, noted := errors.AsType[remark](err)
			switch {
			case noted:
				f.Status, f.Text = "note", string(note)
			case err != nil:
				f.Status, f.Text = "failed", err.Error()+advice(err)
			default:
				f.Text = text
			}
		}()
		if show != nil {
			show(w, f)
		}
		findings = append(findings, f)
	}
	return findings
}

func printLine(w io.Writer, f finding) {
	word := map[string]string{"ok": "ok  ", "note": "note", "failed": "FAIL"}[f.Status]
	fmt.Fprintf(w, "%s  %-12s %s\n", word, f.Check, f.Text)
}

// advice is what to do about a failure of the network, after a semicolon.
func advice(err error) string {
	var name *net.DNSError
	var unknown x509.UnknownAuthorityError
	var host x509.HostnameError
	var timeout net.Error
	switch {
	case errors.As(err, &name):
		return "; check the name's spelling and DNS"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "; nothing listens there: is it running, and is the port right?"
	case errors.As(err, &unknown):
		return "; its certificate is signed by nobody whom this machine trusts"
	case errors.As(err, &host):
		return "; name it as its certificate does"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "; no answer in time: is it running, and does a firewall let us through?"
	}
	return ""
}
