package mail

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Special replies of a script.
const (
	drop = "drop" // close the connection
	hang = "hang" // say nothing until the client goes
)

// script is a mail server that answers as it is told. What isn't told is answered well.
type script struct {
	ext     []string          // of EHLO
	replies map[string]string // by verb; "greeting", "body" and "end" (of DATA) are verbs, too
	tls     *tls.Config       // for STARTTLS
	secure  bool              // TLS from the first byte

	ln   net.Listener
	mu   sync.Mutex
	said []string // lines of the client before TLS and after it, without the body
	body string
}

func (s *script) start(t *testing.T) *script {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.ln = ln
	var conns sync.WaitGroup
	conns.Go(func() { // ends with the listener
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			conns.Go(func() {
				defer conn.Close()
				_ = conn.SetDeadline(time.Now().Add(2 * time.Minute))
				s.serve(conn)
			})
		}
	})
	t.Cleanup(func() { ln.Close(); conns.Wait() })
	return s
}

func (s *script) addr() string { return s.ln.Addr().String() }

func (s *script) lines() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.said)
}

func (s *script) content() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.body
}

func (s *script) serve(conn net.Conn) {
	if s.secure {
		conn = tls.Server(conn, s.tls)
	}
	r := bufio.NewReader(conn)
	// reply sends what the script says for a verb; false: the conversation is over.
	reply := func(verb, good string) bool {
		text, told := s.replies[verb]
		if !told {
			text = good
		}
		switch text {
		case drop:
			return false
		case hang:
			for {
				if _, err := r.ReadString('\n'); err != nil {
					return false
				}
			}
		}
		_, err := fmt.Fprint(conn, text, "\r\n")
		return err == nil
	}
	if !reply("greeting", "220 mail.example ESMTP") {
		return
	}
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		s.mu.Lock()
		s.said = append(s.said, line)
		s.mu.Unlock()
		verb, _, _ := strings.Cut(strings.ToUpper(line), " ")
		good := "250 2.0.0 ok"
		switch verb {
		case "EHLO":
			good = "250-mail.example"
			for _, e := range s.ext {
				good += "\r\n250-" + e
			}
			good += "\r\n250 ENHANCEDSTATUSCODES"
		case "DATA":
			good = "354 go on"
		case "QUIT":
			good = "221 2.0.0 bye"
		case "AUTH":
			good = "235 2.7.0 welcome"
		case "STARTTLS":
			if !reply(verb, "220 go on") {
				return
			}
			conn = tls.Server(conn, s.tls)
			r = bufio.NewReader(conn)
			continue
		}
		if !reply(verb, good) {
			return
		}
		if verb == "DATA" && (s.replies["DATA"] == "" || strings.HasPrefix(s.replies["DATA"], "354")) {
			if s.replies["body"] == drop {
				_, _ = r.ReadString('\n')
				return
			}
			var body strings.Builder
			for {
				line, err := r.ReadString('\n')
				if err != nil {
					return
				}
				if line == ".\r\n" {
					break
				}
				body.WriteString(strings.TrimPrefix(line, "."))
			}
			s.mu.Lock()
			s.body = body.String()
			s.mu.Unlock()
			if !reply("end", "250 2.0.0 taken") {
				return
			}
		}
		if verb == "QUIT" {
			return
		}
	}
}

// certificate is a fresh one that nobody signed, for a name that isn't asked for.
func certificate(t *testing.T) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "mail.example"}, DNSNames: []string{"mail.example"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}

// pemFiles writes a certificate and its key to files.
func pemFiles(t *testing.T, c *tls.Config) (cert, key string) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(c.Certificates[0].PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: c.Certificates[0].Certificate[0]}, key: {Type: "PRIVATE KEY", Bytes: der}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}
