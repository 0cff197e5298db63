package httpapi_test

import (
	"fmt"
	"log/slog"
	"net/http/httptest"

	"latchkey/httpapi"
)

// The facade is an http.Handler; here the rooms behind it are missing, which an unknown path doesn't need.
func Example() {
	api := httpapi.New(httpapi.Ports{}, httpapi.Options{Log: slog.New(slog.DiscardHandler)})
	defer api.Close()
	w := httptest.NewRecorder()
	api.ServeHTTP(w, httptest.NewRequest("GET", "/problems/quota", nil))
	fmt.Print(w.Body)
	w = httptest.NewRecorder()
	api.ServeHTTP(w, httptest.NewRequest("GET", "/nowhere", nil))
	fmt.Println(w.Body)
	// Output:
	// quota
	// Allowance used up (HTTP status 429)
	// {"type":"/problems/not-found","title":"No such thing","status":404}
}
