package msrpws_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"time"

	"latchkey/msrp"
	"latchkey/msrp/msrpws"
)

// A service takes MSRP from browsers at /msrp; here a program plays the browser. Beside its own messages each has told the other its
// URI, which is what SDP does (see msrpsdp).
func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()

	listener := msrp.NewListener(nil, msrp.ListenerOptions{}) // no socket of its own
	defer listener.Close()
	handler := msrpws.NewHandler(listener, msrpws.Options{
		Host: "localhost", Insecure: true, // without TLS this is for examples only
		Authenticate: func(w http.ResponseWriter, r *http.Request) bool {
			_, err := r.Cookie("login")
			if err != nil {
				http.Error(w, "log in first", http.StatusUnauthorized)
			}
			return err == nil
		},
	})
	mux := http.NewServeMux()
	mux.Handle("/msrp", handler)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	server := &http.Server{Handler: mux}
	go server.Serve(ln) // ends with Close
	defer server.Close()

	read := make(chan struct{})
	service := msrp.NewSession(msrp.SessionOptions{Local: handler.NewURI(), Handler: reader(func(m *msrp.IncomingMessage) error {
		body, err := io.ReadAll(m.Body)
		fmt.Printf("the service reads: %s\n", body)
		close(read)
		return err
	})})
	listener.Expect(service)
	client := msrp.NewSession(msrp.SessionOptions{
		Local:  msrp.URI{Host: "client.invalid", Port: 9, SessionID: msrp.NewSessionID(), Transport: "ws"},
		Remote: msrp.Path{service.Local()},
	})
	service.SetRemote(msrp.Path{client.Local()})

	url := "ws://" + ln.Addr().String() + "/msrp"
	_, err = msrpws.Dial(ctx, url, msrpws.DialOptions{})
	fmt.Println("without a login:", err != nil)
	nc, err := msrpws.Dial(ctx, url, msrpws.DialOptions{Header: http.Header{"Cookie": {"login=secret"}}})
	if err != nil {
		log.Fatal(err)
	}
	if err := client.ConnectOn(ctx, nc); err != nil {
		log.Fatal(err)
	}
	if err := client.Send(ctx, &msrp.Message{ContentType: "text/plain", Body: strings.NewReader("Hello"), Size: 5}); err != nil {
		log.Fatal(err)
	}
	<-read
	client.Close()
	<-service.Done()
	// Output:
	// without a login: true
	// the service reads: Hello
}

// reader is a Handler.
type reader func(*msrp.IncomingMessage) error

func (f reader) ServeMSRP(_ *msrp.Session, m *msrp.IncomingMessage) error { return f(m) }
