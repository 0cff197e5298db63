package httpapi

import (
	"net/http"
	"strings"
	"time"

	"latchkey"
)

// Paths of files: those of a guest, and those where inviters' phones fetch what a guest sent.
const (
	filePath       = "/rcsgw/invitee/file"
	publicFilePath = "/rcsgw/file/"
)

// file is a guest's file, or one for them.
type file struct {
	ID      latchkey.FileID    `json:"id"`
	From    string             `json:"from,omitempty"`
	To      string             `json:"to,omitempty"`
	Name    string             `json:"name"`
	Size    int64              `json:"size"`
	Type    string             `json:"type"`
	Preview bool               `json:"preview,omitempty"`
	State   latchkey.FileState `json:"state"`
	Reason  string             `json:"reason,omitempty"`
	SHA1    string             `json:"sha1,omitempty"`
	Time    *time.Time         `json:"time,omitempty"`
	Expires *time.Time         `json:"expires,omitempty"`
}

// described is a file as its guest sees it.
func described(f latchkey.StoredFile) file {
	at, expires := moment(f.Time), moment(f.Expires)
	d := file{
		ID: f.ID, From: string(f.Account), To: string(f.Inviter), Name: f.Name, Size: max(f.Size, 0), Type: f.Type, Preview: f.Preview != "",
		State: f.State, Reason: f.Reason, SHA1: f.SHA1, Time: &at, Expires: &expires,
	}
	if f.Direction == latchkey.ToGuest {
		d.From, d.To = d.To, d.From
	}
	return d
}

// fileMethods are those of one file.
func (a *API) fileMethods(id string) methods {
	return methods{
		http.MethodGet:    with(id, a.download),
		http.MethodHead:   with(id, a.fileHead),
		http.MethodPatch:  with(id, a.appendFile),
		http.MethodDelete: with(id, a.cancelFile),
	}
}

// ownFile is a file of the guest who asks; anybody else's is as if it weren't there.
func (a *API) ownFile(r *http.Request, id string) (latchkey.StoredFile, error) {
	g, err := a.guest(r)
	if err != nil {
		return latchkey.StoredFile{}, err
	}
	f, err := a.ports.Files.Find(r.Context(), latchkey.FileID(id))
	if err == nil && f.Account != g.Account {
		err = latchkey.Errorf(latchkey.KindNotFound, "No such file.")
	}
	return f, err
}

// files is GET /rcsgw/invitee/file?with=…: the files between the two so far, as history is of messages.
func (a *API) files(w http.ResponseWriter, r *http.Request) error {
	g, f, err := a.asked(r)
	if err != nil {
		return err
	}
	past, err := a.pastOf(r, g.Account)
	if err != nil {
		return err
	}
	all, err := a.ports.Files.History(r.Context(), g.Account, past.with, latchkey.FileID(past.before), past.limit)
	if err != nil {
		return err
	}
	page := struct {
		Files []file `json:"files"`
	}{make([]file, len(all))}
	for i, f := range all {
		page.Files[i] = described(f)
	}
	return answer(w, r, f, http.StatusOK, "files", page)
}

// cancelFile is DELETE /rcsgw/invitee/file/{id}: a file that is on its way is taken back, and one that has come or gone is
// forgotten (F55).
func (a *API) cancelFile(w http.ResponseWriter, r *http.Request, id string) error {
	f, err := a.ownFile(r, id)
	if err != nil {
		return err
	}
	if err := a.ports.Files.Cancel(r.Context(), f); err != nil {
		return err
	}
	if f.Direction == latchkey.ToInviter {
		rel, err := a.ports.Desk.Authorize(r.Context(), f.Account, f.Inviter.Address())
		if err == nil {
			err = a.ports.Hall.CancelFile(r.Context(), rel, f)
		}
		if err != nil && !latchkey.Is(err, latchkey.KindNoRelation) {
			return err
		}
	}
	return nothing(w)
}

// download is GET /rcsgw/invitee/file/{id}, with Range (RFC 9110 §14), and with ?preview=1 its small picture.
func (a *API) download(w http.ResponseWriter, r *http.Request, id string) error {
	f, err := a.ownFile(r, id)
	if err != nil {
		return err
	}
	if query(r)["preview"] != "" {
		return servePreview(w, r, a.ports.Files, f)
	}
	return serveFile(w, r, a.ports.Files, f)
}

// fileHead is HEAD of a file: of one that is complete the headers of GET, of an upload how far it has come.
func (a *API) fileHead(w http.ResponseWriter, r *http.Request, id string) error {
	f, err := a.ownFile(r, id)
	if err != nil {
		return err
	}
	if f.State == latchkey.FileReceiving {
		return a.uploadOffset(w, r, f)
	}
	if f.Direction == latchkey.ToInviter {
		a.uploadHeaders(w.Header(), f, f.Size)
	}
	return serveFile(w, r, a.ports.Files, f)
}

// publicFile is GET /rcsgw/file/{key}: an inviter's phone fetches what a guest sent (PROTOCOLS B3.13, F52), or anybody's what an inviter's
// phone put on the content server. The key is all that it needs.
func (a *API) publicFile(w http.ResponseWriter, r *http.Request, rest string) error {
	key, preview := strings.CutSuffix(rest, "/preview")
	from := a.ports.Files
	f, err := from.FindByKey(r.Context(), key)
	if latchkey.Is(err, latchkey.KindNotFound) && a.ports.Uploads != nil {
		from = a.ports.Uploads
		f, err = from.FindByKey(r.Context(), key)
	}
	if err != nil {
		return err
	}
	if preview {
		return servePreview(w, r, from, f)
	}
	return serveFile(w, r, from, f)
}

// serveFile gives the bytes. Nothing of them runs in a page, whatever they are (S6): a browser saves them.
func serveFile(w http.ResponseWriter, r *http.Request, from Files, f latchkey.StoredFile) error {
	content, err := from.Open(r.Context(), f)
	if err != nil {
		return err
	}
	defer content.Close()
	h := w.Header()
	h.Set("Content-Type", f.Type)
	h.Set("Content-Disposition", attachment(f.Name))
	h.Set("Content-Security-Policy", filePolicy)
	h.Set("ETag", `"`+string(f.ID)+`"`) // what is complete does not change, and no other file gets its id
	out := &patient{ResponseWriter: w, c: http.NewResponseController(w)}
	http.ServeContent(out, r, "", f.Time, content)
	if out.badRange {
		h.Del("Content-Disposition")
		return latchkey.Errorf(latchkey.KindBadRange, "the file has %d bytes", f.Size)
	}
	return nil
}

// servePreview gives a small picture. Only kinds of picture that hold no script are ever stored.
func servePreview(w http.ResponseWriter, r *http.Request, from Files, f latchkey.StoredFile) error {
	if f.State == latchkey.FileFailed || !time.Now().Before(f.Expires) {
		return latchkey.Errorf(latchkey.KindExpired, "the file is no longer here")
	}
	kind, picture, err := from.Preview(r.Context(), f)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", kind)
	h.Set("Content-Disposition", "inline")
	h.Set("Content-Security-Policy", filePolicy)
	writeBody(w, r, http.StatusOK, picture)
	return nil
}

// filePolicy lets nothing in a file run or load, should a browser show it after all.
const filePolicy = "sandbox; default-src 'none'; frame-ancestors 'none'"

// attachment is a Content-Disposition with the name twice: in ASCII, and as it is (RFC 6266 §4.3, RFC 8187 §3.2).
func attachment(name string) string {
	var plain, full strings.Builder
	for _, r := range name {
		if r < ' ' || r > '~' || r == '"' || r == '\\' || r == '%' {
			r = '_'
		}
		plain.WriteRune(r)
	}
	const attrChars = "!#$&+-.^_`|~"
	for _, b := range []byte(name) {
		if b >= '0' && b <= '9' || b|0x20 >= 'a' && b|0x20 <= 'z' || strings.IndexByte(attrChars, b) >= 0 {
			full.WriteByte(b)
		} else {
			const digits = "0123456789ABCDEF"
			full.Write([]byte{'%', digits[b>>4], digits[b&15]})
		}
	}
	return `attachment; filename="` + plain.String() + `"; filename*=UTF-8''` + full.String()
}

// writePatience is how long one write of a file may take; a reader that takes nothing holds no place for longer (F67).
const writePatience = 30 * time.Second

// patient gives each write its own time: a large file may take long, as long as it is read. It keeps net/http's own words
// on a range that isn't there back; they are no problem document.
type patient struct {
	http.ResponseWriter
	c        *http.ResponseController
	badRange bool
}

// WriteHeader passes on what is no failure.
func (p *patient) WriteHeader(code int) {
	if p.badRange = code == http.StatusRequestedRangeNotSatisfiable; !p.badRange {
		p.ResponseWriter.WriteHeader(code)
	}
}

// Write writes within writePatience.
func (p *patient) Write(b []byte) (int, error) {
	if p.badRange {
		return len(b), nil
	}
	_ = p.c.SetWriteDeadline(time.Now().Add(writePatience))
	return p.ResponseWriter.Write(b)
}
