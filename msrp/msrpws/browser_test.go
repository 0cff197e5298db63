package msrpws_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"latchkey/msrp"
	"latchkey/msrp/msrpws"
	"latchkey/web/webtest"
)

// page is an MSRP client as somebody writes it who has read RFC 4975 and 7977, and nothing of ours.
const page = `<!doctype html><meta charset="utf-8"><title>MSRP</title><script>
const from = "msrp://192.0.2.1:9/peer0123456789;ws", encoder = new TextEncoder(), decoder = new TextDecoder("latin1");
const messages = [], kinds = new Set(), arrived = {};
let ws, to, answers = {}, count = 0;
const line = (tid, what) => "MSRP " + tid + " " + what + "\r\nTo-Path: " + to + "\r\nFrom-Path: " + from + "\r\n";
function send(body) {
  const tid = "browser" + ++count, size = encoder.encode(body).length;
  ws.send(line(tid, "SEND") + "Message-ID: m" + count + "\r\nByte-Range: 1-" + size + "/" + size + "\r\n" +
    (body ? "Content-Type: text/plain;charset=utf-8\r\n\r\n" + body + "\r\n" : "") + "-------" + tid + "$\r\n");
  return new Promise((resolve) => { answers[tid] = resolve; });
}
function receive(event) {
  kinds.add(typeof event.data);
  const data = typeof event.data == "string" ? decoder.decode(encoder.encode(event.data)) : decoder.decode(event.data);
  const [, tid, what] = data.match(/^MSRP (\S+) (\S+)/);
  const end = data.match(new RegExp("\r\n-------" + tid + "([$+#])\r\n$"));
  if (answers[tid]) return answers[tid](what);
  const id = data.match(/\r\nMessage-ID: (\S+)/)[1], begin = data.indexOf("\r\n\r\n") + 4;
  arrived[id] = (arrived[id] || "") + data.slice(begin, end.index);
  if (end[1] == "$") messages.push(arrived[id]);
  ws.send(line(tid, "200 OK") + "-------" + tid + "$\r\n");
}
function connect(path) {
  to = path;
  ws = new WebSocket("ws://" + location.host + "/msrp", "msrp");
  ws.binaryType = "arraybuffer";
  ws.onmessage = receive;
  return new Promise((resolve, reject) => { ws.onopen = () => resolve(ws.protocol); ws.onerror = () => reject(new Error("no connection")); });
}
const sum = (s) => [...s].reduce((a, c) => (a * 31 + c.charCodeAt(0)) % 1000003, 7);
</script>`

// B4.21: a browser chats and takes a file, and closes in order.
func TestBrowser(t *testing.T) {
	l := msrp.NewListener(nil, msrp.ListenerOptions{})
	h := msrpws.NewHandler(l, msrpws.Options{Host: "127.0.0.1", Insecure: true})
	mux := http.NewServeMux()
	mux.Handle("/msrp", h)
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte(page))
	})
	server := httptest.NewServer(mux)
	t.Cleanup(func() {
		_ = l.Close()
		server.Close()
	})
	k := newKeeper()
	s := expected(t, l, h, msrp.SessionOptions{Handler: k})
	tab := chromium.Open(t, webtest.Options{})
	tab.Go(server.URL)
	if got := webtest.Eval[string](tab, fmt.Sprintf("connect(%q)", s.Local())); got != "msrp" {
		t.Errorf("the subprotocol is %q", got)
	}
	for _, body := range []string{"", "Grüße 👋"} {
		if got := webtest.Eval[string](tab, fmt.Sprintf("send(%q)", body)); got != "200" {
			t.Errorf("send(%q) is answered %s", body, got)
		}
	}
	if got := receive(t, k.got); got != "Grüße 👋" {
		t.Errorf("read %q", got)
	}
	file := strings.Repeat("file\x00\xff\xfe\r\n", 50_000)
	for _, body := range []string{"Hello, browser", file} {
		if err := s.Send(within(t), &msrp.Message{ContentType: "text/plain", Body: strings.NewReader(body), Size: int64(len(body))}); err != nil {
			t.Fatal(err)
		}
	}
	sum := 7
	for i := range len(file) {
		sum = (sum*31 + int(file[i])) % 1000003
	}
	want := fmt.Sprintf("Hello, browser %d %d string object", len(file), sum)
	if got := webtest.Eval[string](tab, `[messages[0], messages[1].length, sum(messages[1]), ...[...kinds].sort().reverse()].join(" ")`); got != want {
		t.Errorf("the browser has %q, want %q", got, want)
	}
	if got := webtest.Eval[string](tab, `new Promise((resolve) => { ws.onclose = (e) => resolve(e.code + " " + e.wasClean); ws.close(); })`); got != "1005 true" {
		t.Errorf("the browser's close ends with %s", got)
	}
	receive(t, s.Done())
}
