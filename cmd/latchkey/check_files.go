package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"latchkey/directory"
	"latchkey/gateway"
)

// expiresSoon is when a certificate's end is worth a remark.
const expiresSoon = 14 * 24 * time.Hour

// fileProbes look at what lies on this machine.
func fileProbes(c gateway.Config) []probe {
	all := []probe{{"data", func(context.Context) (string, error) { return checkData(c.Data) }}}
	if c.Directory != "" {
		all = append(all, probe{"directory", func(context.Context) (string, error) { return checkDirectory(c.Directory) }})
	}
	if c.HTTPS() {
		all = append(all, probe{"http-tls", func(context.Context) (string, error) { return checkCertificate(c, time.Now()) }})
	}
	return all
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
		return "", fmt.Errorf("%w; give it to the user who runs latchkey, or name another by --data", err)
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

// checkCertificate wants certificate and key to belong together, to be valid now, and to be for the host of the links.
func checkCertificate(c gateway.Config, now time.Time) (string, error) {
	pair, err := tls.LoadX509KeyPair(c.HTTPTLSCert, c.HTTPTLSKey)
	if err != nil {
		return "", fmt.Errorf("%s and %s: %w", c.HTTPTLSCert, c.HTTPTLSKey, err)
	}
	leaf := pair.Leaf
	until := leaf.NotAfter.Format(time.DateOnly)
	switch left := leaf.NotAfter.Sub(now); {
	case left <= 0:
		return "", fmt.Errorf("%s ran out on %s; renew it, and send the gateway SIGHUP", c.HTTPTLSCert, until)
	case now.Before(leaf.NotBefore):
		return "", fmt.Errorf("%s is not valid before %s; is the clock right?", c.HTTPTLSCert, leaf.NotBefore.Format(time.DateTime))
	case left < expiresSoon:
		err = remark(fmt.Sprintf("%s runs out on %s; renew it, and send the gateway SIGHUP", c.HTTPTLSCert, until))
	}
	if u, parseErr := url.Parse(c.PublicURL); parseErr == nil && u.Scheme == "https" {
		if wrong := leaf.VerifyHostname(u.Hostname()); wrong != nil {
			err = remark(fmt.Sprintf("%s is not for %s, where links lead; that is right only where a proxy in front speaks TLS for it", c.HTTPTLSCert, u.Hostname()))
		}
	}
	return "certificate and key belong together, good until " + until, err
}
