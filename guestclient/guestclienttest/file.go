package guestclienttest

import (
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// File is a file that the guest sent, or that is there for the guest.
type File struct {
	ID, ClientID, To, Name, Type string
	Digest                       string // Repr-Digest of the announcement
	Size                         int64
	Body                         []byte
	Whole, Cancelled             bool
}

// AddFile puts a file there for the guest, as an inviter's would be.
func (g *Gateway) AddFile(id, name, contentType string, body []byte) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.files = append(g.files, File{ID: id, Name: name, Type: contentType, Size: int64(len(body)), Body: body, Whole: true})
}

// Files are those that the guest sent, each client's id once, whole or not, and those of AddFile.
func (g *Gateway) Files() []File {
	g.mu.Lock()
	defer g.mu.Unlock()
	all := slices.Clone(g.files)
	for i := range all {
		all[i].Body = slices.Clone(all[i].Body)
	}
	return all
}

// CutFiles breaks the connection of the next transfers, in either direction, once they have carried so many bytes.
func (g *Gateway) CutFiles(after ...int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.cuts = append(g.cuts, after...)
}

// HoldFiles lets no byte of a file pass until release is called.
func (g *Gateway) HoldFiles() (release func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	hold := make(chan struct{})
	g.hold = hold
	return func() { close(hold) }
}

// passage is for how many bytes the next transfer lives, and what it waits for.
func (g *Gateway) passage() (limit int64, hold <-chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	limit = 1 << 62
	if len(g.cuts) > 0 {
		limit, g.cuts = g.cuts[0], g.cuts[1:]
	}
	return limit, g.hold
}

// with does something to the file that is chosen, and gives it as it is then.
func (g *Gateway) with(choose func(File) bool, do func(*File)) (File, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	i := slices.IndexFunc(g.files, choose)
	if i < 0 {
		return File{}, false
	}
	if do != nil {
		do(&g.files[i])
	}
	return g.files[i], true
}

// begin is POST of a file's name without a byte: where to go on, or the file itself where all of it is there.
func (g *Gateway) begin(w http.ResponseWriter, r *http.Request) {
	_, params, err := mime.ParseMediaType(r.Header.Get("Content-Disposition"))
	id := r.URL.Query().Get("id")
	if r.Header.Get("Upload-Complete") != "?0" || id == "" {
		Problem(http.StatusBadRequest, "bad-request", "No upload in parts with an id")(w, r)
		return
	}
	f, known := g.with(func(f File) bool { return f.ClientID == id }, nil)
	if !known {
		if err != nil {
			Problem(http.StatusBadRequest, "bad-request", "No name")(w, r)
			return
		}
		size, _ := strconv.ParseInt(r.Header.Get("Upload-Length"), 10, 64)
		f = File{ID: "gw-" + id, ClientID: id, To: r.URL.Query().Get("to"), Name: params["filename"], Type: r.Header.Get("Content-Type"), Digest: r.Header.Get("Repr-Digest"), Size: size}
		g.mu.Lock()
		g.files = append(g.files, f)
		g.mu.Unlock()
	}
	if f.Whole {
		answerFile(w, http.StatusOK, f)
		return
	}
	w.Header().Set("Location", "/rcsgw/invitee/file/"+f.ID)
	w.Header().Set("Upload-Offset", strconv.Itoa(len(f.Body)))
	w.WriteHeader(http.StatusCreated)
}

func answerFile(w http.ResponseWriter, status int, f File) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"id":%q,"to":%q,"name":%q,"size":%d,"type":%q,"state":"accepted"}`, f.ID, f.To, f.Name, f.Size, f.Type)
}

// goOn is PATCH: the rest of a file.
func (g *Gateway) goOn(w http.ResponseWriter, r *http.Request) {
	is := func(f File) bool { return f.ID == r.PathValue("id") && !f.Cancelled }
	f, known := g.with(is, nil)
	if at, err := strconv.Atoi(r.Header.Get("Upload-Offset")); err != nil || !known || at != len(f.Body) || r.Header.Get("Content-Type") != "application/partial-upload" {
		Problem(http.StatusConflict, "mismatching-upload-offset", "Wrong offset or type")(w, r)
		return
	}
	limit, hold := g.passage()
	buf := make([]byte, 1000)
	for {
		if hold != nil {
			select {
			case <-hold:
			case <-r.Context().Done():
				return
			}
		}
		n, err := r.Body.Read(buf[:min(int64(len(buf)), limit)])
		limit -= int64(n)
		f, _ = g.with(is, func(f *File) { f.Body = append(f.Body, buf[:n]...) })
		switch {
		case limit == 0 || err != nil && err != io.EOF:
			panic(http.ErrAbortHandler)
		case err == io.EOF && r.Header.Get("Upload-Complete") == "?1":
			f, _ = g.with(is, func(f *File) { f.Whole = true })
			answerFile(w, http.StatusAccepted, f)
			return
		case err == io.EOF:
			w.WriteHeader(http.StatusNoContent)
			return
		}
	}
}

// fetch is GET of a file, with a Range from somewhere on.
func (g *Gateway) fetch(w http.ResponseWriter, r *http.Request) {
	f, known := g.with(func(f File) bool { return f.ID == r.PathValue("id") && f.Whole && !f.Cancelled }, nil)
	if !known {
		Problem(http.StatusNotFound, "not-found", "No such file")(w, r)
		return
	}
	from, status := 0, http.StatusOK
	if s, ok := strings.CutPrefix(r.Header.Get("Range"), "bytes="); ok {
		fmt.Sscanf(s, "%d-", &from)
		status = http.StatusPartialContent
	}
	if from >= len(f.Body) && from > 0 {
		w.Header().Set("Content-Range", fmt.Sprintf("bytes */%d", len(f.Body)))
		w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
		return
	}
	rest := f.Body[from:]
	w.Header().Set("Content-Type", f.Type)
	w.Header().Set("Content-Length", strconv.Itoa(len(rest)))
	w.WriteHeader(status)
	limit, hold := g.passage()
	if hold != nil {
		_ = http.NewResponseController(w).Flush()
		select {
		case <-hold:
		case <-r.Context().Done():
			return
		}
	}
	_, _ = w.Write(rest[:min(int64(len(rest)), limit)])
	if limit < int64(len(rest)) {
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
}

func (g *Gateway) listFiles(w http.ResponseWriter, _ *http.Request) {
	fmt.Fprint(w, `{"files":[`)
	for i, f := range g.Files() {
		if i > 0 {
			fmt.Fprint(w, ",")
		}
		fmt.Fprintf(w, `{"id":%q,"to":%q,"name":%q,"size":%d,"type":%q,"state":"delivered","time":"2030-01-02T03:04:06Z"}`, f.ID, f.To, f.Name, f.Size, f.Type)
	}
	fmt.Fprint(w, `]}`)
}

func (g *Gateway) dropFile(w http.ResponseWriter, r *http.Request) {
	if _, known := g.with(func(f File) bool { return f.ID == r.PathValue("id") }, func(f *File) { f.Cancelled = true }); !known {
		Problem(http.StatusNotFound, "not-found", "No such file")(w, r)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
