package gateway

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// certify writes a certificate of a SIP domain and its key.
func certify(t *testing.T, dir, domain string) {
	t.Helper()
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		URIs: []*url.URL{{Scheme: "sip", Opaque: domain}}, IPAddresses: []net.IP{net.IPv6loopback},
	}
	raw, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, _ := x509.MarshalPKCS8PrivateKey(key)
	for name, b := range map[string]*pem.Block{"sip.crt": {Type: "CERTIFICATE", Bytes: raw}, "sip.key": {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

const question = "OPTIONS sip:guest.example SIP/2.0\r\nVia: SIP/2.0/@ x.invalid;branch=z9hG4bK1;rport\r\nMax-Forwards: 70\r\nFrom: <sip:a@cc.com>;tag=1\r\n" +
	"To: <sip:guest.example>\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"

// B2.09, B2.10, B2.14, S17: the gateway answers OPTIONS on each of its listeners, over IPv6 as well; a reload shows a renewed certificate, and
// a bad file leaves the old one.
func TestGatewayServesEachTransport(t *testing.T) {
	dir := t.TempDir()
	certify(t, dir, "old.example")
	users := filepath.Join(dir, "users.yaml")
	if err := os.WriteFile(users, []byte("users: []\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load([]string{
		"--data=" + filepath.Join(dir, "x.db"), "--directory=file:" + users, "--http-listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--msrp-listen=tcp:127.0.0.1:0",
		"--sip-listen=udp:[::1]:0,tcp:[::1]:0,tls:[::1]:0,ws:[::1]:0,wss:[::1]:0", "--sip-core=sip:[::1]:5060",
		"--sip-tls-cert=" + filepath.Join(dir, "sip.crt"), "--sip-tls-key=" + filepath.Join(dir, "sip.key"), "--sip-tls-ca=" + filepath.Join(dir, "sip.crt"),
	}, noEnv)
	if err != nil {
		t.Fatal(err)
	}
	g, err := New(c, nil)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- g.Run(context.Background()) }() // ends with Shutdown
	t.Cleanup(func() {
		if err := g.shutdownWithin(time.Minute); err != nil {
			t.Errorf("Shutdown = %v", err)
		}
		<-ended
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	anyone := &tls.Config{InsecureSkipVerify: true}
	at := map[string]string{}
	for _, a := range g.Addrs().SIP {
		at[a.Network] = a.HostPort
		ask := strings.NewReplacer("SIP/2.0/@", "SIP/2.0/"+strings.ToUpper(a.Network), "z9hG4bK1", "z9hG4bK"+a.Network).Replace(question)
		var conn net.Conn
		switch a.Network {
		case "tls":
			conn, err = tls.Dial("tcp", a.HostPort, anyone)
		case "ws", "wss":
			var ws *websocket.Conn
			if a.Network == "wss" {
				var secured *tls.Conn
				if secured, err = tls.Dial("tcp", a.HostPort, anyone); err == nil {
					secured.Close()
				}
				break // its handshake is the point; WebSocket itself is seen on ws
			}
			if ws, _, err = websocket.Dial(ctx, "ws://"+a.HostPort+"/", &websocket.DialOptions{Subprotocols: []string{"sip"}}); err == nil {
				conn = websocket.NetConn(ctx, ws, websocket.MessageText)
			}
		default:
			conn, err = net.Dial(a.Network, a.HostPort)
		}
		if err != nil {
			t.Fatalf("%s: %v", a.Network, err)
		}
		if conn == nil {
			continue
		}
		_ = conn.SetDeadline(time.Now().Add(time.Minute))
		_, _ = io.WriteString(conn, ask)
		b := make([]byte, 4096)
		if n, err := conn.Read(b); err != nil || !strings.HasPrefix(string(b[:n]), "SIP/2.0 ") || !strings.Contains(string(b[:n]), ";received=::1") {
			t.Errorf("%s: %q, %v", a.Network, b[:n], err)
		}
		conn.Close()
	}
	shown := func() string {
		t.Helper()
		conn, err := tls.Dial("tcp", at["tls"], anyone)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].URIs[0].Opaque
	}
	certify(t, dir, "new.example")
	if got := shown(); got != "old.example" {
		t.Errorf("before the reload: %s", got)
	}
	if err := g.Reload(c); err != nil || shown() != "new.example" {
		t.Errorf("Reload = %v, and it shows %s", err, shown())
	}
	if err := os.WriteFile(c.SIPTLSCA, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := g.Reload(c); err == nil || !strings.Contains(err.Error(), "sip-tls-c") || shown() != "new.example" {
		t.Errorf("Reload = %v, and it shows %s", err, shown())
	}
	if _, err := c.SIPTLS(); err == nil {
		t.Error("bad files are fine")
	}
}
