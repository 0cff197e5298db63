package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"latchkey/gateway/gatewaytest"
	"latchkey/imstest"
)

// S17: HTTPS takes TLS 1.2 and up and HTTP/2, its cookie and its answers say so to browsers, and SIGHUP takes a new certificate without an end to what
// is under way; one that can't be read leaves the old one in force.
func TestHangupReadsTheCertificateAgain(t *testing.T) {
	t.Parallel()
	now, day := time.Now(), 24*time.Hour
	cert, key := pair(t, now.Add(-day), now.Add(day))
	w := serves(t, gatewaytest.Plan{Args: []string{"--http-tls-cert=" + cert, "--http-tls-key=" + key}})
	addr, https := strings.CutPrefix(w.URL(), "https://")
	if !https {
		t.Fatalf("URL %s", w.URL())
	}
	trusting := func(path string) *tls.Config {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(text) {
			t.Fatalf("%s has no certificate", path)
		}
		return &tls.Config{RootCAs: pool, ServerName: "chat.example.com"}
	}
	shown := func() string {
		t.Helper()
		c, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.ConnectionState().PeerCertificates[0].Raw}))
	}
	for version, ok := range map[uint16]bool{tls.VersionTLS10: false, tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
		c := trusting(cert)
		c.MinVersion, c.MaxVersion = version, version
		conn, err := tls.Dial("tcp", addr, c)
		if (err == nil) != ok {
			t.Errorf("%s: %v", tls.VersionName(version), err)
		}
		if err == nil {
			_ = conn.Close()
		}
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: trusting(cert), ForceAttemptHTTP2: true}, Timeout: 2 * gatewaytest.Patience}
	defer client.CloseIdleConnections()
	do := func(method, path, user, password, body string, fields ...string) *http.Response {
		t.Helper()
		req, err := http.NewRequest(method, w.URL()+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.SetBasicAuth(user, password)
		req.Header.Set("Content-Type", "application/json")
		for i := 0; i < len(fields); i += 2 {
			req.Header.Set(fields[i], fields[i+1])
		}
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = res.Body.Close() })
		return res
	}
	if res := do("POST", "/rcsgw/invitee/user", gatewaytest.Alice, gatewaytest.Password, `{"email":"`+gatewaytest.GuestMail+`"}`); res.StatusCode != 201 || res.ProtoMajor != 2 {
		t.Fatalf("invitation: %s %s", res.Proto, res.Status)
	}
	b := w.Invited(1)
	login := do("POST", b.SessionPath(), b.Account, b.Password, "")
	if c := login.Cookies(); len(c) != 1 || !c[0].Secure || !c[0].HttpOnly || login.Header.Get("Strict-Transport-Security") == "" {
		t.Errorf("login: %v", login.Header)
	}
	// A stream over HTTP/2 goes on across the reload.
	stream := do("GET", "/rcsgw/invitee/events", b.Account, b.Password, "", "Accept", "text/event-stream")
	old, err := os.ReadFile(cert)
	if err != nil {
		t.Fatal(err)
	}
	if got := shown(); got != string(old) {
		t.Errorf("the certificate that is shown is not the file's")
	}
	hangUp := func(from, log string) {
		t.Helper()
		text, err := os.ReadFile(from)
		if err == nil {
			err = os.WriteFile(cert, text, 0o600)
		}
		if err == nil {
			err = w.Signal(syscall.SIGHUP)
		}
		if err != nil {
			t.Fatal(err)
		}
		imstest.Eventually(t, gatewaytest.Patience, func() bool { return strings.Contains(w.Log.String(), log) })
	}
	fresh, freshKey := pair(t, now.Add(-day), now.Add(2*day))
	hangUp(fresh, "configuration not reloaded") // its key isn't there yet
	if got := shown(); got != string(old) {
		t.Error("a certificate without its key is shown, or none")
	}
	text, err := os.ReadFile(freshKey)
	if err == nil {
		err = os.WriteFile(key, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	hangUp(fresh, `msg="configuration reloaded"`)
	if want, _ := os.ReadFile(fresh); shown() != string(want) {
		t.Error("the new certificate is not shown")
	}
	client.CloseIdleConnections() // not the one of the stream; the rest is asked under the new certificate
	client.Transport.(*http.Transport).TLSClientConfig = trusting(cert)
	if res := do("POST", "/rcsgw/invitee/user", gatewaytest.Carol, gatewaytest.Password, `{"email":"`+gatewaytest.GuestMail+`"}`); res.StatusCode != 201 {
		t.Fatalf("invitation: %s", res.Status)
	}
	heard := make(chan string, 1)
	go func() { // ends with the stream
		buf := make([]byte, 1<<10)
		all := ""
		for !strings.Contains(all, gatewaytest.Carol) {
			n, err := stream.Body.Read(buf)
			if all += string(buf[:n]); err != nil {
				all += err.Error()
				break
			}
		}
		heard <- all
	}()
	select {
	case all := <-heard:
		if !strings.Contains(all, gatewaytest.Carol) {
			t.Errorf("the stream: %q", all)
		}
	case <-time.After(gatewaytest.Patience):
		t.Error("the stream is silent")
	}
}
