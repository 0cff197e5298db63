package web_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"

	"latchkey/web"
)

// The page stands at every invitation link and loads what it needs from /rcsgw/app/.
func Example() {
	mux := http.NewServeMux()
	mux.Handle("GET /rcsgw/invitee/session/", web.Page())
	mux.Handle("GET /rcsgw/app/", web.Assets())
	server := httptest.NewServer(mux)
	defer server.Close()
	for _, path := range []string{"/rcsgw/invitee/session/sip:b@guest.example", "/rcsgw/app/worker.js"} {
		res, err := http.Get(server.URL + path)
		if err != nil {
			fmt.Println(err)
			return
		}
		body, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		fmt.Println(res.Status, res.Header.Get("Content-Type"), strings.Contains(string(body), "link.js"))
	}
	// Output:
	// 200 OK text/html; charset=utf-8 true
	// 200 OK text/javascript; charset=utf-8 true
}
