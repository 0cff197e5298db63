package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"latchkey/gateway"
	"latchkey/gateway/gatewaytest"
	"latchkey/imstest"
)

// X3: check has the scanner look at a line of text, and says what it means that it can't, or that it finds harm in it.
func TestCheckTriesTheScanner(t *testing.T) {
	t.Parallel()
	for answer, want := range map[string]string{"stream: OK\x00": "harmless", "stream: Worm FOUND\x00": "right service", "stream: ERROR\x00": "none is taken meanwhile"} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		go func() { // ends with the listener
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				in := bufio.NewReader(c)
				seen, _ := in.ReadString('\n')
				_, _ = in.Discard(4) // the end of the stream
				if !strings.Contains(seen, "zINSTREAM\x00\x00\x00\x00\x0flatchkey check") {
					answer = "stream: nothing came ERROR\x00"
				}
				_, _ = c.Write([]byte(answer))
				_ = c.Close()
			}
		}()
		text, err := checkScanner(t.Context(), gateway.FileScan{Clamd: l.Addr().String()})
		if err != nil {
			text = err.Error()
		}
		if !strings.Contains(text, want) || (err == nil) != (want == "harmless") {
			t.Errorf("answer %q: %q, %v", answer, text, err)
		}
	}
	c, err := gateway.Load([]string{"--directory=file:u", "--file-scan=icap://127.0.0.1:1/avscan"}, func(string) string { return "" })
	if err != nil || !slices.ContainsFunc(probes(c), func(p probe) bool { return p.name == "file-scan" }) {
		t.Errorf("the scanner is not among what is tried; %v", err)
	}
}

// Beside a gateway that runs, all is well; a peer that is gone is the one thing that fails, with words on it.
func TestCheckTriesEachPeer(t *testing.T) {
	t.Parallel()
	d := gatewaytest.NewDirectory(t)
	w := serves(t, gatewaytest.Plan{Args: []string{"--directory=" + d.URL, "--mail-bounce=smtp:127.0.0.1:0"}})
	args := append([]string{"check", "--json"}, w.Args()...)
	findings := func(want int) map[string]finding {
		t.Helper()
		code, stdout, stderr := runLatchkey(t, "", args...)
		var all []finding
		if err := json.Unmarshal([]byte(stdout), &all); err != nil || code != want {
			t.Fatalf("exit %d, %v\n%s%s", code, err, stdout, stderr)
		}
		byName := map[string]finding{}
		for _, f := range all {
			byName[f.Check] = f
		}
		return byName
	}
	before := w.Rows("guest")
	got := findings(0)
	for name, want := range map[string]string{
		"data": "can be written", "http-listen": "free", "admin-listen": "free", "sip-listen": "in use, by the gateway that runs", "msrp-listen": "free",
		"sip-core": "by udp with", "im-server": "by tcp with", "directory": "answers", "mail": "greets", "mail-bounce": "free",
	} {
		if f := got[name]; f.Status != "ok" || !strings.Contains(f.Text, want) {
			t.Errorf("%s: %+v, want ok and %q", name, f, want)
		}
	}
	if f := got["public-url"]; f.Status != "note" || !strings.Contains(f.Text, "this machine alone") {
		t.Errorf("public-url: %+v", f)
	}
	w.Mail.Close()
	imstest.Closed(t, w.Mail.Addr())
	d.Kill()
	imstest.Closed(t, strings.TrimPrefix(d.URL, "http://"))
	got = findings(1)
	for name, f := range got {
		if failed := name == "mail" || name == "directory"; failed != (f.Status == "failed") || failed && !strings.Contains(f.Text, "nothing listens there") {
			t.Errorf("%s: %+v", name, f)
		}
	}
	if n := w.Rows("guest"); n != before || len(w.Mail.Mails()) != 0 {
		t.Errorf("check has left %d guests and %d mails", n, len(w.Mail.Mails()))
	}
	code, stdout, _ := runLatchkey(t, "", append([]string{"check"}, w.Args()...)...)
	if code != 1 || strings.Count(stdout, "FAIL") != 2 || !strings.Contains(stdout, "FAIL  mail") || strings.Count(stdout, "\n") != len(got) {
		t.Errorf("exit %d\n%s", code, stdout)
	}
}

// config is a configuration whose peers are the test's.
func config(t *testing.T, args ...string) gateway.Config {
	t.Helper()
	c, err := gateway.Load(append([]string{"--directory=file:users.yaml", "--mail-from=i@cc.com"}, args...), func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// one runs the probe of a name.
func one(t *testing.T, c gateway.Config, name string) finding {
	t.Helper()
	all := slices.DeleteFunc(probes(c), func(p probe) bool { return p.name != name })
	if len(all) != 1 {
		t.Fatalf("%d probes are called %s", len(all), name)
	}
	return check(t.Context(), nil, all, nil)[0]
}

func expect(t *testing.T, f finding, status, text string) {
	t.Helper()
	if f.Status != status || !strings.Contains(f.Text, text) || strings.Contains(f.Text, "\n") {
		t.Errorf("%s: %s %q, want %s and %q on one line", f.Check, f.Status, f.Text, status, text)
	}
}

// An address that another program has is told from one that a gateway has, and from one that isn't ours.
func TestCheckSeesWhoHasAnAddress(t *testing.T) {
	t.Parallel()
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	taken := other.Addr().String()
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	for _, c := range []struct{ option, value, status, text string }{
		{"http-listen", taken, "failed", "in use, and not by a gateway"},
		{"msrp-listen", "tcp:127.0.0.1:0,tls:" + taken, "failed", "tls:" + taken},
		{"sip-listen", "udp:" + silent.LocalAddr().String(), "failed", "in use, and not by a gateway"},
		{"http-listen", "203.0.113.7:8080", "failed", "no address of this machine"},
		{"admin-listen", "127.0.0.1:0", "ok", "free"},
	} {
		args := []string{"--http-listen=127.0.0.1:0", "--sip-listen=udp:127.0.0.1:0", "--" + c.option + "=" + c.value}
		expect(t, one(t, config(t, args...), c.option), c.status, c.text)
	}
}

// R33: a bucket is written to, read and left as it was; what is wrong with it is said. A directory is looked at.
func TestCheckTriesTheFileStore(t *testing.T) {
	t.Parallel()
	b := imstest.NewBucket(t)
	option := func(secret, bucket string) string {
		return "--file-store=s3://" + b.KeyID + ":" + url.PathEscape(secret) + "@" + bucket + "?endpoint=http://" + b.Addr + "&region=us-east-1"
	}
	expect(t, one(t, config(t, option(b.Secret, b.Name)), "file-store"), "ok", "gives them back")
	if left := b.Objects(); len(left) != 0 {
		t.Errorf("check has left %q", left)
	}
	expect(t, one(t, config(t, option("guess", b.Name)), "file-store"), "failed", "its secret is another")
	expect(t, one(t, config(t, option(b.Secret, "nowhere")), "file-store"), "failed", "no such bucket; create it")
	b.Stop()
	expect(t, one(t, config(t, option(b.Secret, b.Name)), "file-store"), "failed", "nothing listens there")
	dir := t.TempDir()
	expect(t, one(t, config(t, "--file-store="+filepath.Join(dir, "a", "b")), "file-store"), "ok", "can be made")
	expect(t, one(t, config(t, "--file-store="+dir), "file-store"), "ok", "can be written")
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("check has left %v, %v", left, err)
	}
	expect(t, one(t, config(t, "--file-store=/dev/null/a"), "file-store"), "failed", "name another by --file-store")
}

// A core that speaks one transport only is noted, a silent one fails.
func TestCheckAsksTheCoreOnEachTransport(t *testing.T) {
	t.Parallel()
	core, err := imstest.NewCore(imstest.CoreOptions{Domains: []string{"cc.com"}})
	if err != nil {
		t.Fatal(err)
	}
	defer core.Close()
	ports := []string{"--sip-listen=udp:127.0.0.1:0,tcp:127.0.0.1:0"}
	expect(t, one(t, config(t, append(ports, "--sip-core="+core.URI())...), "sip-core"), "ok", "by tcp with")
	expect(t, one(t, config(t, append(ports, "--sip-core="+core.URI()+";transport=tcp")...), "sip-core"), "ok", "answers OPTIONS with")
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	f := one(t, config(t, append(ports, "--sip-core=sip:"+silent.LocalAddr().String())...), "sip-core")
	expect(t, f, "failed", "does not answer OPTIONS by udp nor by tcp")
	// A relay of datagrams in front of the core makes it one that UDP alone reaches.
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	go func() { // ends with udp
		buf := make([]byte, 65536)
		for {
			n, from, err := udp.ReadFrom(buf)
			if err != nil {
				return
			}
			head, _, _ := strings.Cut(string(buf[:n]), "\r\n\r\n")
			var res bytes.Buffer
			res.WriteString("SIP/2.0 405 Method Not Allowed\r\n")
			for line := range strings.SplitSeq(head, "\r\n") {
				if name, _, _ := strings.Cut(line, ":"); slices.Contains([]string{"Via", "From", "To", "Call-ID", "CSeq"}, name) {
					if name == "To" {
						line += ";tag=x"
					}
					res.WriteString(line + "\r\n")
				}
			}
			res.WriteString("Content-Length: 0\r\n\r\n")
			_, _ = udp.WriteTo(res.Bytes(), from)
		}
	}()
	expect(t, one(t, config(t, append(ports, "--sip-core=sip:"+udp.LocalAddr().String())...), "sip-core"), "note", "by udp with 405 Method Not Allowed")
}

// The directory is asked for nobody, and what is wrong is said so that an operator knows what to do.
func TestCheckAsksTheDirectory(t *testing.T) {
	t.Parallel()
	d := gatewaytest.NewDirectory(t, "-token=of ours")
	with := strings.Replace(d.URL, "//", "//:of%20ours@", 1)
	expect(t, one(t, config(t, "--directory="+with), "directory"), "ok", d.URL+" answers")
	expect(t, one(t, config(t, "--directory="+d.URL), "directory"), "failed", "refuses the credentials")
	expect(t, one(t, config(t, "--directory=http://127.0.0.1:1"), "directory"), "failed", "nothing listens there")
	expect(t, one(t, config(t, "--directory=http://nowhere.invalid"), "directory"), "failed", "the name's spelling")
	tls := httptest.NewUnstartedServer(nil)
	tls.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	tls.StartTLS()
	defer tls.Close()
	expect(t, one(t, config(t, "--directory="+tls.URL), "directory"), "failed", "nobody whom this machine trusts")
	expect(t, one(t, config(t, "--directory=file:/nonexistent.yaml"), "directory"), "failed", "no such file")
}

// mailServer plays SMTP that wants a login, and tells what it was asked.
func mailServer(t *testing.T, right string) (addr string, asked func() string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var log imstest.Log
	var all sync.WaitGroup
	all.Go(func() { // ends with the listener
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_ = conn.SetDeadline(time.Now().Add(gatewaytest.Patience))
			fmt.Fprint(conn, "220 mail.example ESMTP\r\n")
			for in := bufio.NewScanner(conn); in.Scan(); {
				fmt.Fprintln(&log, in.Text())
				switch verb, rest, _ := strings.Cut(in.Text(), " "); verb {
				case "EHLO":
					fmt.Fprint(conn, "250-mail.example\r\n250 AUTH PLAIN\r\n")
				case "AUTH":
					if rest == right {
						fmt.Fprint(conn, "235 ok\r\n")
					} else {
						fmt.Fprint(conn, "535 no\r\n")
					}
				default:
					fmt.Fprint(conn, "221 bye\r\n")
				}
			}
			_ = conn.Close()
		}
	})
	t.Cleanup(func() { _ = l.Close(); all.Wait() })
	return l.Addr().String(), log.String
}

// The mail server is logged in to and gets no mail.
func TestCheckLogsInToTheMailServer(t *testing.T) {
	t.Parallel()
	addr, asked := mailServer(t, "PLAIN AG1lAGh1c2g=") // \0me\0hush
	expect(t, one(t, config(t, "--mail=smtp://me:hush@"+addr), "mail"), "ok", "and lets me in")
	expect(t, one(t, config(t, "--mail=smtp://me:wrong@"+addr), "mail"), "failed", "does not let the gateway in")
	expect(t, one(t, config(t, "--mail=smtps://me:hush@"+addr), "mail"), "failed", "TLS")
	expect(t, one(t, config(t), "mail"), "note", "not set")
	if log := asked(); strings.Contains(log, "MAIL") || strings.Contains(log, "RCPT") || !strings.Contains(log, "QUIT") {
		t.Errorf("the server was asked:\n%s", log)
	}
}

// pair writes a certificate for chat.example.com and its key.
func pair(t *testing.T, notBefore, notAfter time.Time) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "chat"}, DNSNames: []string{"chat.example.com"}, NotBefore: notBefore, NotAfter: notAfter}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

func TestCheckReadsTheCertificate(t *testing.T) {
	t.Parallel()
	now, day := time.Now(), 24*time.Hour
	good, goodKey := pair(t, now.Add(-day), now.Add(90*day))
	soon, soonKey := pair(t, now.Add(-day), now.Add(5*day))
	old, oldKey := pair(t, now.Add(-9*day), now.Add(-day))
	early, earlyKey := pair(t, now.Add(day), now.Add(90*day))
	for _, c := range []struct{ cert, key, public, status, text string }{
		{good, goodKey, "https://chat.example.com", "ok", "belong together"},
		{good, goodKey, "https://other.example.com", "note", "is not for other.example.com"},
		{good, soonKey, "https://chat.example.com", "failed", "private key does not match"},
		{soon, soonKey, "https://chat.example.com", "note", "renew it"},
		{old, oldKey, "https://chat.example.com", "failed", "ran out"},
		{early, earlyKey, "https://chat.example.com", "failed", "not valid before"},
		{"/nowhere", goodKey, "https://chat.example.com", "failed", "no such file"},
	} {
		expect(t, one(t, config(t, "--http-tls-cert="+c.cert, "--http-tls-key="+c.key, "--public-url="+c.public), "http-tls"), c.status, c.text)
	}
}

// Links must lead to the gateway that runs, and to somewhere at all.
func TestCheckFollowsThePublicURL(t *testing.T) {
	t.Parallel()
	elsewhere := httptest.NewServer(nil)
	defer elsewhere.Close()
	yes, no := func() bool { return true }, func() bool { return false }
	try := func(url string, ours func() bool) finding {
		return check(t.Context(), nil, []probe{{"public-url", func(ctx context.Context) (string, error) {
			return checkPublicURL(ctx, config(t, "--public-url="+url), ours)
		}}}, nil)[0]
	}
	w := gatewaytest.New(t, gatewaytest.Plan{})
	expect(t, try(w.URL(), yes), "ok", "leads to the gateway")
	expect(t, try(elsewhere.URL, yes), "failed", "does not lead to a gateway")
	expect(t, try(elsewhere.URL, no), "ok", "once the gateway runs")
	expect(t, try("http://127.0.0.1:1", yes), "failed", "nothing listens there")
	expect(t, try("https://nowhere.invalid", no), "failed", "the name's spelling")
	expect(t, try("http://203.0.113.7", no), "note", "in the clear")
}
