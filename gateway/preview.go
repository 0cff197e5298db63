package gateway

import (
	_ "embed"
	"html/template"
	"net/http"
	"strconv"

	"latchkey/notify/wording"
)

//go:embed preview.html
var previewSource string

var previewPage = template.Must(template.New("preview.html").Parse(previewSource))

// preview shows what invitations look like in each language, with samples. /templates/mail is the mail's HTML alone, as a mail program has it.
func preview(book *wording.Book) http.Handler {
	look := func(r *http.Request) (language string, n int, v wording.Invitation) {
		samples := wording.Samples()
		n, err := strconv.Atoi(r.URL.Query().Get("sample"))
		if err != nil || n < 0 || n >= len(samples) {
			n = 0
		}
		return book.Language(r.URL.Query().Get("language")), n, samples[n]
	}
	fail := func(w http.ResponseWriter, err error) { http.Error(w, err.Error(), http.StatusInternalServerError) }
	mux := http.NewServeMux()
	mux.HandleFunc("GET /templates", func(w http.ResponseWriter, r *http.Request) {
		language, n, sample := look(r)
		m, err := book.Mail(language, sample)
		if err != nil {
			fail(w, err)
			return
		}
		line, err := book.SMS(language, sample)
		if err != nil {
			fail(w, err)
			return
		}
		w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-src 'self'; frame-ancestors 'none'")
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_ = previewPage.Execute(w, struct { // who went away misses nothing
			Languages           []string
			Language            string
			Samples             []string
			Sample              int
			Subject, Text, Line string
		}{book.Languages(), language, []string{"one inviter", "several inviters", "without names"}, n, m.Subject, m.Text, line + " " + sample.Link})
	})
	mux.HandleFunc("GET /templates/mail", func(w http.ResponseWriter, r *http.Request) {
		language, _, sample := look(r)
		m, err := book.Mail(language, sample)
		if err != nil {
			fail(w, err)
			return
		}
		// An operator's text is not ours to trust with scripts, and a mail program would run none either.
		w.Header().Set("Content-Security-Policy", "sandbox; default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'self'")
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write([]byte(m.HTML))
	})
	return mux
}
