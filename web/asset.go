package web

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

//go:embed page
var embedded embed.FS

// types are the kinds of file that are served; others are not.
var types = map[string]string{
	".html":        "text/html; charset=utf-8",
	".css":         "text/css; charset=utf-8",
	".js":          "text/javascript; charset=utf-8",
	".svg":         "image/svg+xml",
	".png":         "image/png",
	".webmanifest": "application/manifest+json",
}

// languages are those of the dictionaries in page/lang; the first one is for everybody else.
var languages = []string{"en", "zh", "de", "fr", "es", "ar"}

// files are the embedded ones by their names below page/.
type files struct {
	body    map[string][]byte
	version string // stands for all their bytes
}

func read() files {
	f := files{body: map[string][]byte{}}
	sum := sha256.New()
	err := fs.WalkDir(embedded, "page", func(path string, d fs.DirEntry, err error) error { // in the order of names
		if err != nil || d.IsDir() {
			return err
		}
		body, err := embedded.ReadFile(path)
		f.body[strings.TrimPrefix(path, "page/")] = body
		one := sha256.Sum256(body)
		sum.Write(append(one[:], path...))
		return err
	})
	if err != nil {
		panic(err) // embedded: a bug of ours
	}
	f.version = hex.EncodeToString(sum.Sum(nil)[:8])
	return f
}

// words is a dictionary: a module whose one export is JSON.
func (f files) words(lang string) map[string]string {
	text := string(f.body["lang/"+lang+".js"])
	text = strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(text), "export default "), ";")
	words := map[string]string{}
	if err := json.Unmarshal([]byte(text), &words); err != nil {
		panic("web: lang/" + lang + ".js: " + err.Error()) // embedded: a bug of ours
	}
	return words
}

// asset is one file as it is served, plain and, where that is smaller, by gzip. No secret is ever in it, so its length tells nothing.
type asset struct {
	body, zipped []byte
	kind         string
	tag          string // of the bytes, without quotes
}

func compressed(body []byte, kind string) asset {
	sum := sha256.Sum256(body)
	a := asset{body: body, kind: kind, tag: hex.EncodeToString(sum[:8])}
	var buf bytes.Buffer
	z, _ := gzip.NewWriterLevel(&buf, gzip.BestCompression) // the level is known
	_, _ = z.Write(body)
	_ = z.Close() // to memory: can't fail
	if buf.Len() < len(body) {
		a.zipped = buf.Bytes()
	}
	return a
}

func (a asset) serve(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		h.Set("Allow", "GET, HEAD")
		http.Error(w, "only GET and HEAD are known here", http.StatusMethodNotAllowed)
		return
	}
	h.Set("Content-Type", a.kind)
	h.Add("Vary", "Accept-Encoding")
	body, tag := a.body, a.tag
	if a.zipped != nil && r.Header.Get("Range") == "" && accepts(r, "gzip") { // a range is one of the plain bytes
		body, tag = a.zipped, tag+"-gzip" // RFC 9110 §8.8.3.3: each representation has a tag of its own
		h.Set("Content-Encoding", "gzip")
		h.Set("Content-Length", strconv.Itoa(len(body))) // net/http leaves it out beside Content-Encoding
	}
	h.Set("ETag", `"`+tag+`"`)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
}

// accepts tells whether a request takes a content coding (RFC 9110 §12.5.3).
func accepts(r *http.Request, coding string) bool {
	for _, name := range []string{coding, "*"} {
		for _, w := range weighted(r.Header.Values("Accept-Encoding")) {
			if w.name == name {
				return w.q > 0
			}
		}
	}
	return false
}

// preferred is the language that a reader likes best of those that there are (RFC 9110 §12.5.4): the highest weight, then
// the reader's order. Of zh-TW the main language counts.
func preferred(accept []string) string {
	best, most := languages[0], 0.0
	for _, w := range weighted(accept) {
		main, _, _ := strings.Cut(w.name, "-")
		if w.q > most && slices.Contains(languages, main) {
			best, most = main, w.q
		}
	}
	return best
}

type weight struct {
	name string
	q    float64
}

// weighted reads a list of names with weights; what can't be understood is as if it weren't there.
func weighted(values []string) (all []weight) {
	for item := range strings.SplitSeq(strings.Join(values, ","), ",") {
		name, params, _ := strings.Cut(item, ";")
		w := weight{strings.ToLower(strings.TrimSpace(name)), 1}
		if w.name == "" || len(all) == 32 {
			continue
		}
		if text, ok := strings.CutPrefix(strings.ReplaceAll(params, " ", ""), "q="); ok {
			q, err := strconv.ParseFloat(text, 64)
			if err != nil || q < 0 || q > 1 {
				continue
			}
			w.q = q
		}
		all = append(all, w)
	}
	return all
}
