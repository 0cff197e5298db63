package imstest

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	_ "embed"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// Browser is a small core with a browser-like phone in it, of which everything goes by WebSocket: SIP (RFC 7118), both as the server that the gateway
// connects to and as a client of its listener, and MSRP (RFC 7977). It runs in Node, over npm's ws, and has no code in common with the gateway.
type Browser struct {
	Cert, Key string // PEM files of a certificate for 127.0.0.1, its own authority, for the gateway as well

	t     testing.TB
	stdin io.Writer
	port  int

	mu     sync.Mutex // guards the fields below
	serial int
	events []BrowserEvent
	more   chan struct{} // closed when there is another event
	over   bool
}

// BrowserEvent is what happened to it, or what came of a command.
type BrowserEvent struct {
	Event   string // listening, register, invite, reinvite, ack, bye, bound, message, cut, msrpclosed, edgeclosed, pong, violation, done
	SDP     string
	Path    string
	Contact string
	Text    string
	ID      string
	Type    string
	Error   string
	Status  int
	Port    int
	Serial  int
}

//go:embed websocket.js
var browserScript string

// NewBrowser starts one for a subscriber; pages of origin are whose it is. It ends with the test, which fails for whatever it saw against the specifications.
func NewBrowser(t testing.TB, uri, origin string) *Browser {
	t.Helper()
	modules := nodeModules(t, "ws@7.5.14")
	dir := t.TempDir()
	b := &Browser{Cert: filepath.Join(dir, "ws.crt"), Key: filepath.Join(dir, "ws.key"), t: t, more: make(chan struct{})}
	cert, key := loopback(t)
	for file, text := range map[string][]byte{b.Cert: cert, b.Key: key} {
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	config, _ := json.Marshal(map[string]string{"uri": uri, "origin": origin, "cert": string(cert), "key": string(key)}) // strings
	cmd := exec.Command("node", "-e", browserScript, string(config))
	cmd.Env = append(os.Environ(), "NODE_PATH="+modules)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	b.stdin = stdin
	var reading sync.WaitGroup
	reading.Go(func() { b.read(stdout) }) // ends with the process
	t.Cleanup(func() {
		_ = stdin.Close()
		kill := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
		reading.Wait()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the browser's node: %v\n%s", err, stderr.String())
		}
		kill.Stop()
		for _, e := range b.Events("violation") {
			t.Errorf("the browser saw: %s", e.Text)
		}
		if t.Failed() {
			t.Logf("the browser's events: %+v", b.events)
		}
	})
	b.port = b.Wait("listening", 1)[0].Port
	return b
}

// loopback makes a certificate for 127.0.0.1 that is its own authority.
func loopback(t testing.TB) (cert, key []byte) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "127.0.0.1"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
}

// Core is the SIP URI of its server.
func (b *Browser) Core() string { return fmt.Sprintf("sips:127.0.0.1:%d;transport=ws", b.port) }

func (b *Browser) read(r io.Reader) {
	for lines := bufio.NewReader(r); ; {
		line, err := lines.ReadBytes('\n')
		var e BrowserEvent
		if err == nil {
			err = json.Unmarshal(line, &e)
		}
		b.mu.Lock()
		if err == nil {
			b.events = append(b.events, e)
		}
		b.over = err != nil
		close(b.more)
		b.more = make(chan struct{})
		b.mu.Unlock()
		if err != nil {
			_, _ = io.Copy(io.Discard, r)
			return
		}
	}
}

// Events are those of one kind so far.
func (b *Browser) Events(kind string) (all []BrowserEvent) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range b.events {
		if e.Event == kind {
			all = append(all, e)
		}
	}
	return all
}

// await waits until f is content with what has happened.
func (b *Browser) await(what string, f func() bool) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for {
		b.mu.Lock()
		more, over := b.more, b.over
		b.mu.Unlock()
		if f() {
			return
		}
		if over {
			b.t.Fatalf("the browser has ended before %s", what)
		}
		select {
		case <-more:
		case <-ctx.Done():
			b.t.Fatalf("the browser has no %s", what)
		}
	}
}

// Wait waits for n events of one kind, and gives all of it.
func (b *Browser) Wait(kind string, n int) (all []BrowserEvent) {
	b.t.Helper()
	b.await(fmt.Sprintf("%d %s", n, kind), func() bool {
		all = b.Events(kind)
		return len(all) >= n
	})
	return all
}

// Do gives it a command, with pairs of names and values, and waits for what comes of it.
func (b *Browser) Do(command string, pairs ...any) (done BrowserEvent) {
	b.t.Helper()
	b.mu.Lock()
	b.serial++
	serial := b.serial
	b.mu.Unlock()
	c := map[string]any{"do": command, "serial": serial}
	for i := 0; i+1 < len(pairs); i += 2 {
		c[pairs[i].(string)] = pairs[i+1]
	}
	line, err := json.Marshal(c)
	if err != nil {
		b.t.Fatal(err)
	}
	if _, err := b.stdin.Write(append(line, '\n')); err != nil {
		b.t.Fatal(err)
	}
	b.await("answer to "+command, func() bool {
		for _, e := range b.Events("done") {
			if e.Serial == serial {
				done = e
				return true
			}
		}
		return false
	})
	if done.Error != "" {
		b.t.Fatalf("the browser's %s: %s", command, done.Error)
	}
	return done
}
