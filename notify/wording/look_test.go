package wording

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"latchkey/web/webtest"
)

var chromium webtest.Browser

func TestMain(m *testing.M) {
	code := m.Run()
	chromium.Close()
	os.Exit(code)
}

// R13, X5: the mail can be read on a phone and on a desk, by day and by night, from either side. Pictures are kept in artifacts/ for
// people to look at. Nothing is asked of any other host.
func TestMailIsLegible(t *testing.T) {
	b := book(t)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m, err := b.Mail(strings.Trim(r.URL.Path, "/"), Samples()[1])
		if err != nil {
			t.Error(err)
		}
		_, _ = io.WriteString(w, m.HTML)
	}))
	defer s.Close()
	for _, language := range []string{"en", "ar", "zh"} {
		for _, size := range []webtest.Size{webtest.Phone, webtest.Desktop} {
			for _, dark := range []bool{false, true} {
				if language != "en" && (size == webtest.Desktop) != dark { // one of each is enough
					continue
				}
				tab := chromium.Open(t, webtest.Options{Size: size, Dark: dark})
				tab.Go(s.URL + "/" + language)
				tab.Await("body", "Alice")
				tab.Shot(fmt.Sprintf("mail-%s-%s-%s", language, size.Name, map[bool]string{false: "light", true: "dark"}[dark]))
				if flaws := tab.Flaws(); flaws != "" {
					t.Errorf("%s on %s, dark %v:\n%s", language, size.Name, dark, flaws)
				}
				for _, request := range tab.Requests() {
					if !strings.Contains(request, "127.0.0.1") {
						t.Errorf("the mail asks for %s", request)
					}
				}
			}
		}
	}
}
