package sipua

import (
	"context"
	"crypto/tls"
	"net/http"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"github.com/emiago/sipgo/sip"
)

// dialSIP is a SIP client behind a WebSocket: text, without any code of the product.
func dialSIP(t *testing.T, e *Endpoint, network string, opt *websocket.DialOptions) (*websocket.Conn, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	opt.HTTPClient = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}}
	ws, _, err := websocket.Dial(ctx, network+"://"+e.at(network)+"/", opt)
	if err == nil {
		ws.SetReadLimit(1 << 17)
		t.Cleanup(func() { _ = ws.CloseNow() })
	}
	return ws, err
}

func readText(t *testing.T, ws *websocket.Conn) string {
	t.Helper()
	_, b, err := ws.Read(bounded(t))
	if err != nil {
		t.Fatalf("Read = %v", err)
	}
	return string(b)
}

func writeText(t *testing.T, ws *websocket.Conn, text string) {
	t.Helper()
	if err := ws.Write(bounded(t), websocket.MessageText, []byte(text)); err != nil {
		t.Fatalf("Write = %v", err)
	}
}

// B2.09, RFC 7118 §4, §5, §6: a client on a WebSocket asks and is asked over its one connection, which its made-up name leads to; line
// ends keep it alive; pings are answered in the midst of it.
func TestWebSocketClient(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	for _, network := range []string{"ws", "wss"} {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			asked := make(chan *sip.Request, 1)
			e := listenTLS(t, a.shows(a.issue("127.0.0.1")), "", func(tx *Transaction) { asked <- tx.Request; _ = tx.Respond(200, "") }, network+":127.0.0.1:0")
			ws, err := dialSIP(t, e, network, &websocket.DialOptions{Subprotocols: []string{"msrp", "sip"}})
			if err != nil || ws.Subprotocol() != "sip" {
				t.Fatalf("Dial = %v", err)
			}
			upper := strings.ToUpper(network)
			hello := strings.ReplaceAll("OPTIONS sip:b@guest.example SIP/2.0\nVia: SIP/2.0/"+upper+" df7jal23ls0d.invalid;branch=z9hG4bKx;rport\nMax-Forwards: 70\n"+
				"From: <sip:a@cc.com>;tag=1\nTo: <sip:b@guest.example>\nCall-ID: x\nCSeq: 1 OPTIONS\nContact: <sip:a@df7jal23ls0d.invalid;transport=ws>\n\n", "\n", "\r\n")
			writeText(t, ws, hello) // RFC 7118 §5: without Content-Length, too
			if res := readText(t, ws); !strings.HasPrefix(res, "SIP/2.0 200 OK\r\n") || !strings.Contains(get(res, "Via"), ";received=127.0.0.1") {
				t.Errorf("%s", res)
			}
			if req := <-asked; req.Transport() != upper {
				t.Errorf("Transport = %s", req.Transport())
			}
			go func() { // ends with the answer
				for { // the client reads while it pings
					text := readText(t, ws)
					if text == "\r\n" {
						continue
					}
					if !strings.HasPrefix(text, "MESSAGE sip:a@df7jal23ls0d.invalid;transport=ws SIP/2.0\r\nVia: SIP/2.0/"+upper+" "+e.at(network)+";") {
						t.Errorf("%s", text)
					}
					writeText(t, ws, answer(text, "202 Accepted"))
					return
				}
			}()
			writeText(t, ws, "\r\n\r\n")
			if err := ws.Ping(bounded(t)); err != nil {
				t.Errorf("Ping = %v", err)
			}
			req, _ := NewRequest(sip.MESSAGE, "sip:a@df7jal23ls0d.invalid;transport=ws", "sip:b@guest.example", "sip:a@cc.com")
			req.SetBody([]byte(strings.Repeat("x", 40000)))
			if res, err := e.Do(bounded(t), req); err != nil || res.StatusCode != 202 {
				t.Errorf("Do = %v, %v", res, err)
			}
			// The name is the first one's as long as it lives.
			other, err := dialSIP(t, e, network, &websocket.DialOptions{Subprotocols: []string{"sip"}})
			if err != nil {
				t.Fatal(err)
			}
			writeText(t, other, strings.Replace(hello, "branch=z9hG4bKx", "branch=z9hG4bKy", 1))
			readText(t, other)
			<-asked
			go func() { writeText(t, ws, answer(readText(t, ws), "200 OK")) }()
			again, _ := NewRequest(sip.OPTIONS, "sip:a@df7jal23ls0d.invalid;transport=ws", "sip:b@guest.example", "sip:a@cc.com")
			if res, err := e.Do(bounded(t), again); err != nil || res.StatusCode != 200 {
				t.Errorf("Do = %v, %v", res, err)
			}
			// §4.2: what is not UTF-8 goes in a binary message, and all else is text for a browser.
			for kind, body := range map[websocket.MessageType]string{websocket.MessageText: "gr\u00fc\u00df", websocket.MessageBinary: "gr\xfc\xdf"} {
				got := make(chan websocket.MessageType, 1)
				go func() {
					kind, b, _ := ws.Read(bounded(t))
					got <- kind
					_ = ws.Write(bounded(t), kind, []byte(answer(string(b), "200 OK")))
				}()
				req, _ := NewRequest(sip.MESSAGE, "sip:a@df7jal23ls0d.invalid;transport=ws", "sip:b@guest.example", "sip:a@cc.com")
				req.SetBody([]byte(body))
				if res, err := e.Do(bounded(t), req); err != nil || res.StatusCode != 200 || <-got != kind {
					t.Errorf("%q: Do = %v, %v, or it did not come as %v", body, res, err, kind)
				}
			}
			var hop sip.Uri
			_ = sip.ParseUri("sip:a@df7jal23ls0d.invalid;transport="+network, &hop)
			if c := e.Contact("b", hop); c.String() != "sip:b@"+e.at(network)+";transport=ws" {
				t.Errorf("Contact = %s", c.String())
			}
		})
	}
}

// RFC 7118 §4.1, RFC 6455 §10.2: without the subprotocol there is no SIP, and no page of another site speaks from a trusted browser.
func TestWebSocketIsRefused(t *testing.T) {
	t.Parallel()
	e := listen(t, nil, "ws:127.0.0.1:0")
	for name, opt := range map[string]*websocket.DialOptions{
		"no subprotocol":      {},
		"another subprotocol": {Subprotocols: []string{"msrp"}},
		"another site":        {Subprotocols: []string{"sip"}, HTTPHeader: http.Header{"Origin": {"https://evil.example"}}},
	} {
		if _, err := dialSIP(t, e, "ws", opt); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	// What isn't SIP ends the connection.
	ws, err := dialSIP(t, e, "ws", &websocket.DialOptions{Subprotocols: []string{"sip"}})
	if err != nil {
		t.Fatal(err)
	}
	writeText(t, ws, "hello")
	if _, _, err := ws.Read(bounded(t)); err == nil {
		t.Error("it goes on")
	}
}

// We connect to WebSocket servers, too, and see who they are.
func TestRequestOverWebSocket(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	ok := func(tx *Transaction) { _ = tx.Respond(200, "") }
	server := listenTLS(t, a.shows(a.issue("127.0.0.1")), "", ok, "ws:127.0.0.1:0", "wss:127.0.0.1:0")
	wrong := listenTLS(t, a.shows(a.issue("other.example")), "", ok, "wss:127.0.0.1:0")
	client := listenTLS(t, a.shows(nil), "", nil, "udp:127.0.0.1:0")
	for uri, want := range map[string]string{
		"sip:" + server.at("ws") + ";transport=ws": "WS", "sips:" + server.at("wss") + ";transport=ws": "WSS", "sips:" + wrong.at("wss") + ";transport=ws": "",
	} {
		req, _ := NewRequest(sip.OPTIONS, uri, "sip:b@guest.example", "sip:a@cc.com")
		res, err := client.Do(bounded(t), req)
		if want == "" && err == nil || want != "" && (err != nil || res.Transport() != want) {
			t.Errorf("%s: Do = %v, %v", uri, res, err)
		}
	}
}
