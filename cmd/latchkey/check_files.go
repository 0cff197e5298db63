package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
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
	if c.FileBucket == nil {
		all = append(all, probe{"file-store", func(context.Context) (string, error) { return checkFolder(c.FileStore) }})
	}
	if c.HTTPS() {
		all = append(all, probe{"http-tls", func(context.Context) (string, error) { return checkLinkCertificate(c, time.Now()) }})
	}
	if c.SIPTLSCert != "" {
		all = append(all, probe{"sip-tls", func(context.Context) (string, error) {
			_, text, err := checkCertificate(c.SIPTLSCert, c.SIPTLSKey, time.Now())
			return text, err
		}})
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

// checkFolder finds out whether a directory can be written, or made, without making it.
func checkFolder(path string) (string, error) {
	word, at := "can be written", path
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		word = "can be made"
		for ; errors.Is(err, os.ErrNotExist) && at != filepath.Dir(at); _, err = os.Stat(at) {
			at = filepath.Dir(at)
		}
	}
	probe, err := os.CreateTemp(at, ".latchkey-check-*")
	if err != nil {
		return "", fmt.Errorf("%w; give %s to the user who runs latchkey, or name another by --file-store", err, path)
	}
	_ = probe.Close()
	return path + " " + word, os.Remove(probe.Name())
}

// checkLinkCertificate wants the certificate to be for the host of the links, too.
func checkLinkCertificate(c gateway.Config, now time.Time) (string, error) {
	leaf, text, err := checkCertificate(c.HTTPTLSCert, c.HTTPTLSKey, now)
	if u, parseErr := url.Parse(c.PublicURL); leaf != nil && parseErr == nil && u.Scheme == "https" {
		if wrong := leaf.VerifyHostname(u.Hostname()); wrong != nil {
			err = remark(fmt.Sprintf("%s is not for %s, where links lead; that is right only where a proxy in front speaks TLS for it", c.HTTPTLSCert, u.Hostname()))
		}
	}
	return text, err
}

// checkCertificate wants certificate and key to belong together and to be valid now. leaf is nil where it is of no use.
func checkCertificate(cert, key string, now time.Time) (leaf *x509.Certificate, text string, err error) {
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, "", fmt.Errorf("%s and %s: %w", cert, key, err)
	}
	leaf = pair.Leaf
	until := leaf.NotAfter.Format(time.DateOnly)
	switch left := leaf.NotAfter.Sub(now); {
	case left <= 0:
		return nil, "", fmt.Errorf("%s ran out on %s; renew it, and send the gateway SIGHUP", cert, until)
	case now.Before(leaf.NotBefore):
		return nil, "", fmt.Errorf("%s is not valid before %s; is the clock right?", cert, leaf.NotBefore.Format(time.DateTime))
	case left < expiresSoon:
		err = remark(fmt.Sprintf("%s runs out on %s; renew it, and send the gateway SIGHUP", cert, until))
	}
	return leaf, "certificate and key belong together, good until " + until, err
}
