package imstest

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// PushService is the push service of some browsers (RFC 8030), with the browsers behind it: it takes calls by HTTPS and reads them. The decryption
// is that of npm's http_ece, run by Node, and has nothing of the gateway's code.
type PushService struct {
	URL string // https://127.0.0.1:port
	CA  []byte // its own authority, in PEM

	server *http.Server
	t      testing.TB

	mu       sync.Mutex // guards the fields below
	browsers map[string]*PushBrowser
	calls    []PushCall
	answers  []PushAnswer
}

// PushBrowser is a browser that a guest subscribes, with what it tells the page.
type PushBrowser struct {
	Endpoint, P256dh, Auth string
	private                []byte
}

// Body is what the page tells the gateway of it.
func (b *PushBrowser) Body() string {
	text, _ := json.Marshal(map[string]string{"endpoint": b.Endpoint, "p256dh": b.P256dh, "auth": b.Auth}) // strings
	return string(text)
}

// PushAnswer is what the service says to one call; the zero value is 201.
type PushAnswer struct {
	Status     int
	RetryAfter string
	Location   string
}

// PushCall is one call that came, whatever was answered.
type PushCall struct {
	Browser *PushBrowser
	Header  http.Header
	Size    int
	At      time.Time
	Word    map[string]string // as the browser reads it, after Read
	Claims  struct {
		Aud, Sub, Key string
		Exp           int64
	}

	body []byte
}

// NewPushService starts one; it ends with the test.
func NewPushService(t testing.TB) *PushService {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "push service"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}})
	if err != nil {
		t.Fatal(err)
	}
	s := &PushService{URL: "https://" + l.Addr().String(), CA: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), t: t, browsers: map[string]*PushBrowser{}}
	s.server = &http.Server{Handler: http.HandlerFunc(s.take), ReadHeaderTimeout: 10 * time.Second, ErrorLog: log.New(io.Discard, "", 0)}
	var serving sync.WaitGroup
	serving.Go(func() { _ = s.server.Serve(l) }) // ends with Close
	t.Cleanup(func() {
		_ = s.server.Close()
		serving.Wait()
	})
	return s
}

// Browser makes one more browser.
func (s *PushService) Browser() *PushBrowser {
	s.t.Helper()
	key, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		s.t.Fatal(err)
	}
	var auth [16]byte
	_, _ = rand.Read(auth[:])
	s.mu.Lock()
	defer s.mu.Unlock()
	path := fmt.Sprintf("/push/%d-%x", len(s.browsers), auth[:4])
	b := &PushBrowser{s.URL + path, base64.RawURLEncoding.EncodeToString(key.PublicKey().Bytes()), base64.RawURLEncoding.EncodeToString(auth[:]), key.Bytes()}
	s.browsers[path] = b
	return b
}

// Answer says what the next calls are answered, one each; after them it is 201 again.
func (s *PushService) Answer(all ...PushAnswer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers = append(s.answers, all...)
}

func (s *PushService) take(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.browsers[r.URL.Path]
	if err != nil || b == nil || r.Method != http.MethodPost {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	s.calls = append(s.calls, PushCall{Browser: b, Header: r.Header.Clone(), Size: len(body), At: time.Now(), body: body})
	answer := PushAnswer{}
	if len(s.answers) > 0 {
		answer, s.answers = s.answers[0], s.answers[1:]
	}
	if answer.RetryAfter != "" {
		w.Header().Set("Retry-After", answer.RetryAfter)
	}
	if answer.Location != "" {
		w.Header().Set("Location", answer.Location)
	}
	if answer.Status == 0 {
		answer.Status = http.StatusCreated
	}
	w.WriteHeader(answer.Status)
}

// Calls are those that came so far, not read.
func (s *PushService) Calls() []PushCall {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

// Wait waits until n calls have come in all, and gives them, not read.
func (s *PushService) Wait(n int) []PushCall {
	s.t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if all := s.Calls(); len(all) >= n {
			return all
		}
		if time.Now().After(end) {
			s.t.Fatalf("%d calls came, want %d", len(s.Calls()), n)
		}
	}
}

// nodeModules is where npm's packages are, this one among them. Without it or Node the test is skipped, or fails where CI=true says that nothing
// may be missing.
func nodeModules(t testing.TB, pack string) string {
	t.Helper()
	tools := os.Getenv("LATCHKEY_TOOLS")
	if tools == "" {
		cache, _ := os.UserCacheDir()
		tools = filepath.Join(cache, "latchkey", "tools")
	}
	modules := filepath.Join(tools, "npm", "node_modules")
	name, _, _ := strings.Cut(pack, "@")
	_, err := exec.LookPath("node")
	if _, missing := os.Stat(filepath.Join(modules, name)); err != nil || missing != nil {
		word := "Node or " + name + " is missing; ./test.sh installs them, or: npm install --prefix " + tools + "/npm " + pack
		if os.Getenv("CI") == "true" {
			t.Fatal(word)
		}
		t.Skip(word)
	}
	return modules
}

//go:embed push.js
var readPush string

// Read reads calls as their browsers do. Without Node or http_ece the test is skipped, or fails where CI=true says that nothing may be missing.
func (s *PushService) Read(calls []PushCall) []PushCall {
	s.t.Helper()
	modules := nodeModules(s.t, "http_ece@1.2.1")
	var in bytes.Buffer
	for _, c := range calls {
		line, _ := json.Marshal(map[string]string{ // strings
			"private": base64.RawURLEncoding.EncodeToString(c.Browser.private), "auth": c.Browser.Auth,
			"body": base64.StdEncoding.EncodeToString(c.body), "authorization": c.Header.Get("Authorization"),
		})
		in.Write(append(line, '\n'))
	}
	cmd := exec.Command("node", "-e", readPush)
	cmd.Env, cmd.Stdin = append(os.Environ(), "NODE_PATH="+modules), &in
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		s.t.Fatalf("node: %v\n%s", err, stderr.String())
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(calls) > 0 && len(lines) != len(calls) {
		s.t.Fatalf("%d of %d calls were read: %s", len(lines), len(calls), out)
	}
	for i := range calls {
		var got struct {
			Word, Error string
			Claims      json.RawMessage
		}
		err := json.Unmarshal([]byte(lines[i]), &got)
		if err == nil && got.Error != "" {
			err = errors.New(got.Error)
		}
		if err == nil {
			err = json.Unmarshal([]byte(got.Word), &calls[i].Word)
		}
		if err == nil {
			err = json.Unmarshal(got.Claims, &calls[i].Claims)
		}
		if err != nil {
			s.t.Fatalf("call %d can't be read: %v: %s", i, err, lines[i])
		}
	}
	return calls
}
