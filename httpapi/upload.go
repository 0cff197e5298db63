package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"latchkey"
)

// Upload is a file that is being written. *files.Writer is one.
type Upload interface {
	io.Writer
	File() latchkey.StoredFile
	Offset() int64
	SetSize(ctx context.Context, size int64) error
	SetPreview(ctx context.Context, contentType string, picture []byte) error
	Restart() error
	Taken() <-chan struct{} // closed when another request goes on with the file
	Commit(ctx context.Context) (latchkey.StoredFile, error)
	Pause(ctx context.Context) error
	Abort(ctx context.Context) error
}

// upload is POST /rcsgw/invitee/file?to=… (R33): one file as the body itself, or as the part of a multipart form that has a file
// name. It goes to disk as it comes. 202 says that it is there, whole and found clean. One whose hash is declared may go to the inviter meanwhile.
//
// With Upload-Complete it begins an upload that can be resumed (draft-ietf-httpbis-resumable-upload); see resume.go.
func (a *API) upload(w http.ResponseWriter, r *http.Request) error {
	g, f, err := a.asked(r)
	if err != nil {
		return err
	}
	if err := plainBody(r); err != nil {
		return err
	}
	release, err := a.beginUpload(g.Account)
	if err != nil {
		return err
	}
	defer release()
	resumable, complete, err := uploadComplete(r)
	if err != nil {
		return err
	}
	if r.ContentLength > a.ports.Files.MaxSize()+a.opt.MaxBody { // whatever is around the file
		return latchkey.Errorf(latchkey.KindTooLarge, "a file may have %d bytes", a.ports.Files.MaxSize())
	}
	body, done := a.fileBody(w, r)
	defer done()
	in, err := readIncoming(r, body)
	if err != nil {
		return err
	}
	sum, err := declared(r)
	if err != nil {
		return err
	}
	if in.multipart { // what was declared is the form's
		sum = ""
	}
	if in.multipart && resumable {
		return latchkey.Errorf(latchkey.KindBadRequest, "a form can't be resumed: send the file itself as the body")
	}
	rel, uri, err := a.peer(r.Context(), g.Account, "to", in.to)
	if err != nil {
		return err
	}
	if err := a.ports.Hall.MaySendFile(r.Context(), rel); err != nil {
		return err
	}
	up, stored, repeated, err := a.ports.Files.Create(r.Context(), latchkey.StoredFile{
		Relation: rel.ID, Account: rel.Account, Inviter: rel.Inviter, Direction: latchkey.ToInviter,
		Name: in.name, Type: in.contentType, Size: in.size, SHA1: sum, ClientID: in.id,
	})
	if err != nil {
		return err
	}
	if repeated {
		if stored.State != latchkey.FileReceiving {
			_, _ = io.Copy(io.Discard, io.LimitReader(in.content, a.opt.MaxBody)) // a client that still writes may miss the answer
			return a.accepted(w, r, f, http.StatusOK, stored, uri)
		}
		// The first attempt was cut off. It goes on where nothing but its offset is asked for, and else begins anew.
		if up, err = a.ports.Files.Resume(r.Context(), stored.ID); err == nil && !(resumable && !complete && r.ContentLength == 0) {
			err = up.Restart()
		}
		if err != nil {
			return err
		}
	}
	if resumable {
		a.announce(w, r, up.File())
		return a.receive(w, r, f, rel, uri, up, in.content, complete, http.StatusCreated)
	}
	a.coming(rel, up)
	if _, err := a.take(w, up, in.content); err != nil {
		return errors.Join(err, up.Abort(r.Context()))
	}
	return a.commit(w, r, f, rel, uri, up)
}

// plainBody refuses what would have to be unpacked.
func plainBody(r *http.Request) error {
	if encoding := r.Header.Get("Content-Encoding"); encoding != "" && !strings.EqualFold(encoding, "identity") {
		return latchkey.Errorf(latchkey.KindUnsupportedMedia, "Content-Encoding: send the body as it is")
	}
	return nil
}

// take copies the body to the file, and gives up when another request takes the file over.
func (a *API) take(w http.ResponseWriter, up Upload, content io.Reader) (int64, error) {
	over := make(chan struct{})
	c := http.NewResponseController(w)
	var watch sync.WaitGroup
	watch.Go(func() { // ends with the copy
		select {
		case <-up.Taken():
			_ = c.SetReadDeadline(time.Unix(1, 0)) // who waits for the body is woken
		case <-over:
		}
	})
	n, err := pour(up, content)
	close(over)
	watch.Wait()
	_ = c.SetReadDeadline(time.Time{}) // it would end the request's context, too
	if err == nil {
		return n, nil
	}
	select {
	case <-up.Taken():
		return n, latchkey.Errorf(latchkey.KindConflict, "another request goes on with this file, or it was cancelled")
	default:
	}
	if _, ours := errors.AsType[*latchkey.Error](err); ours {
		return n, err
	}
	return n, latchkey.Wrap(latchkey.KindBadRequest, err, "the body ended early")
}

// How much of a body is written at a time: little, so that many slow clients cost little, until it shows to be long. While a long piece is hashed
// and written the next one comes, so that reading it wakes nobody; net/http gives no more at once than a chunk of its client has else, 32 KiB mostly.
const (
	firstPieces = 32 << 10
	longPieces  = 512 << 10
	longBody    = 4 << 20
)

// pour copies content to its end, or until either side fails. What came before is written, whatever comes then.
func pour(to io.Writer, content io.Reader) (n int64, err error) {
	for buf := make([]byte, firstPieces); err == nil; {
		if n >= longBody && len(buf) < longPieces {
			buf = make([]byte, longPieces)
		}
		k := 0
		for first := true; err == nil && k < len(buf) && (first || len(buf) == longPieces); first = false {
			var m int
			m, err = content.Read(buf[k:]) // not io.ReadFull: how it ends matters
			k += m
		}
		if k > 0 {
			written, wrong := to.Write(buf[:k])
			if n += int64(written); wrong != nil {
				return n, wrong
			}
		}
	}
	if err == io.EOF {
		err = nil
	}
	return n, err
}

// commit completes a file and has it delivered.
func (a *API) commit(w http.ResponseWriter, r *http.Request, f format, rel latchkey.Relation, to latchkey.Address, up Upload) error {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(answerTime)) // a scanner takes its time
	stored, err := up.Commit(r.Context())
	if err != nil {
		return err
	}
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(answerTime))
	// It is stored; should it not be passed on now, it waits for the relation's next look.
	if err := a.ports.Hall.SendFile(context.WithoutCancel(r.Context()), rel, stored); err != nil {
		a.opt.Log.Warn("file waits", latchkey.LogFile, stored.ID, latchkey.LogError, err)
	}
	return a.accepted(w, r, f, http.StatusAccepted, stored, to)
}

// accepted is the answer to a whole upload: accepted also where the file has come further by now, as events tell.
func (a *API) accepted(w http.ResponseWriter, r *http.Request, f format, status int, stored latchkey.StoredFile, to latchkey.Address) error {
	d := file{ID: stored.ID, To: to.Identity(), Name: stored.Name, Size: max(stored.Size, 0), Type: stored.Type, State: latchkey.FileAccepted, SHA1: stored.SHA1}
	switch stored.State {
	case latchkey.FileFailed, latchkey.FileReceiving:
		d.State, d.Reason = stored.State, stored.Reason
	}
	at, expires := moment(stored.Time), moment(stored.Expires)
	d.Time, d.Expires = &at, &expires
	return answer(w, r, f, status, "file", d)
}

// incoming is what a request says of the file that it brings.
type incoming struct {
	to, id, name, contentType string
	size                      int64
	multipart                 bool
	content                   io.Reader
}

// readIncoming finds the file in a request. What a form says before the file counts as if the query said it.
func readIncoming(r *http.Request, body io.Reader) (in incoming, err error) {
	q := query(r)
	in = incoming{to: q["to"], id: q["id"], name: q["name"], size: latchkey.UnknownSize, content: body, contentType: r.Header.Get("Content-Type")}
	if in.id == "" {
		in.id = strings.Trim(r.Header.Get("Idempotency-Key"), `"`)
	}
	kind, params, unread := mime.ParseMediaType(in.contentType)
	if unread != nil && in.contentType != "" {
		return in, latchkey.Errorf(latchkey.KindUnsupportedMedia, "Content-Type: can't be understood")
	}
	if kind == "multipart/form-data" {
		in.multipart = true
		if params["boundary"] == "" {
			return in, latchkey.Errorf(latchkey.KindBadRequest, "Content-Type: has no boundary")
		}
		err = in.readForm(multipart.NewReader(body, params["boundary"]))
	} else {
		if name := dispositionName(r.Header.Get("Content-Disposition")); name != "" {
			in.name = name
		}
		if r.Header.Get("Upload-Complete") == "" && r.ContentLength >= 0 {
			in.size = r.ContentLength
		}
		if n, ok, err := uploadLength(r); err != nil {
			return in, err
		} else if ok {
			in.size = n
		}
	}
	if err == nil && len(in.id) > 128 {
		err = latchkey.Errorf(latchkey.KindBadRequest, "id: is longer than 128 characters")
	}
	return in, err
}

// Limits of a form, beside the file.
const (
	maxFormFields = 16
	maxFormField  = 2 << 10
)

// readForm reads to the part that has a file name; its content is what is left of the form.
func (in *incoming) readForm(form *multipart.Reader) error {
	for range maxFormFields {
		part, err := form.NextPart()
		if errors.Is(err, io.EOF) {
			return latchkey.Errorf(latchkey.KindBadRequest, "the form has no part with a file name")
		}
		if err != nil {
			return latchkey.Wrap(latchkey.KindBadRequest, err, "the form can't be read")
		}
		if name := dispositionName(part.Header.Get("Content-Disposition")); name != "" {
			in.name, in.contentType, in.content = name, part.Header.Get("Content-Type"), part
			return nil
		}
		value, err := io.ReadAll(io.LimitReader(part, maxFormField))
		if err != nil {
			return latchkey.Wrap(latchkey.KindBadRequest, err, "the form can't be read")
		}
		text := strings.TrimSpace(string(value))
		switch part.FormName() {
		case "to":
			in.to = text
		case "id":
			in.id = text
		}
	}
	return latchkey.Errorf(latchkey.KindBadRequest, "the form has too many fields before the file")
}

// dispositionName is the file name of a Content-Disposition, filename* before filename (RFC 6266 §4.3); package mime decodes both.
func dispositionName(value string) string {
	_, params, err := mime.ParseMediaType(value)
	if err != nil {
		return ""
	}
	name := params["filename"]
	if decoded, err := new(mime.WordDecoder).DecodeHeader(name); err == nil {
		name = decoded // some clients write RFC 2047 words
	}
	return name
}

// minimal speed of an upload: one that trickles holds no place for long (F67).
const (
	uploadGrace = 30 * time.Second
	uploadRate  = 1 << 10 // bytes a second
)

// fileBody is the request's body with a time for each read, and for all of it by what has come. done must be called before the answer.
func (a *API) fileBody(w http.ResponseWriter, r *http.Request) (body io.Reader, done func()) {
	c := http.NewResponseController(w)
	b := &steady{r: r.Body, c: c, start: time.Now()}
	return b, func() { _ = c.SetReadDeadline(time.Time{}) } // it would end the request's context, too
}

// steady reads a body that keeps coming.
type steady struct {
	r     io.Reader
	c     *http.ResponseController
	start time.Time
	n     int64
}

func (s *steady) Read(b []byte) (int, error) {
	now := time.Now()
	limit := s.start.Add(uploadGrace + time.Duration(s.n/uploadRate)*time.Second)
	if idle := now.Add(uploadGrace); idle.Before(limit) {
		limit = idle
	}
	_ = s.c.SetReadDeadline(limit)
	_ = s.c.SetWriteDeadline(now.Add(answerTime))
	n, err := s.r.Read(b)
	s.n += int64(n)
	return n, err
}

// uploadComplete reads Upload-Complete, a structured field boolean (RFC 9651 §3.3.6).
func uploadComplete(r *http.Request) (given, complete bool, err error) {
	switch v := strings.TrimSpace(r.Header.Get("Upload-Complete")); v {
	case "":
		return false, false, nil
	case "?0":
		return true, false, nil
	case "?1":
		return true, true, nil
	default:
		return false, false, latchkey.Errorf(latchkey.KindBadRequest, "Upload-Complete: must be ?0 or ?1")
	}
}

// uploadLength reads Upload-Length, and where the rest of the file is this body, what follows from its length.
func uploadLength(r *http.Request) (n int64, ok bool, err error) {
	v := strings.TrimSpace(r.Header.Get("Upload-Length"))
	if v == "" {
		return 0, false, nil
	}
	n, err = strconv.ParseInt(v, 10, 64)
	if err != nil || n < 0 {
		return 0, false, latchkey.Errorf(latchkey.KindBadRequest, "Upload-Length: must be a number of bytes")
	}
	return n, true, nil
}

// quotedJSON is for the problem documents of the draft, which have members of their own.
func quotedJSON(v any) []byte {
	b, _ := json.Marshal(v) // strings and numbers: can't fail
	return b
}
