package httpapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"latchkey"
)

// Resumable uploads (draft-ietf-httpbis-resumable-upload, read in its 12th version): POST with Upload-Complete creates the upload, whose
// address is the file's; HEAD tells how far it has come, PATCH adds bytes, DELETE cancels. What a connection that broke has
// brought stays for some hours.

// partialUpload is the media type of a PATCH.
const partialUpload = "application/partial-upload"

// uploadHeaders tell where an upload stands.
func (a *API) uploadHeaders(h http.Header, f latchkey.StoredFile, offset int64) {
	complete := "?1"
	if f.State == latchkey.FileReceiving {
		complete = "?0"
	}
	h.Set("Upload-Complete", complete)
	h.Set("Upload-Offset", strconv.FormatInt(offset, 10))
	if f.Size >= 0 {
		h.Set("Upload-Length", strconv.FormatInt(f.Size, 10))
	}
	h.Set("Upload-Limit", fmt.Sprintf("max-size=%d", a.ports.Files.MaxSize()))
}

// uploadOffset answers HEAD of an upload.
func (a *API) uploadOffset(w http.ResponseWriter, r *http.Request, f latchkey.StoredFile) error {
	if f.Direction != latchkey.ToInviter {
		return latchkey.Errorf(latchkey.KindNotFound, "No such file.")
	}
	offset, err := a.ports.Files.Offset(r.Context(), f)
	if err != nil {
		return err
	}
	a.uploadHeaders(w.Header(), f, offset)
	return nothing(w)
}

// announce tells the upload's address before the bytes have come: a connection that breaks in the middle leaves the
// client knowing where to go on.
func (a *API) announce(w http.ResponseWriter, r *http.Request, f latchkey.StoredFile) {
	w.Header().Set("Location", a.basePath()+filePath+"/"+string(f.ID))
	w.Header().Set("Upload-Limit", fmt.Sprintf("max-size=%d", a.ports.Files.MaxSize()))
	if r.ProtoAtLeast(1, 1) {
		w.WriteHeader(104) // Upload Resumption Supported
	}
}

// appendFile is PATCH /rcsgw/invitee/file/{id}.
func (a *API) appendFile(w http.ResponseWriter, r *http.Request, id string) error {
	f, err := answerFormat(r)
	if err != nil {
		return err
	}
	stored, err := a.ownFile(r, id)
	if err != nil {
		return err
	}
	if err := plainBody(r); err != nil {
		return err
	}
	if kind, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";"); !strings.EqualFold(strings.TrimSpace(kind), partialUpload) {
		return latchkey.Errorf(latchkey.KindUnsupportedMedia, "Content-Type: send %s", partialUpload)
	}
	given, complete, err := uploadComplete(r)
	if err != nil {
		return err
	}
	at, err := strconv.ParseInt(strings.TrimSpace(r.Header.Get("Upload-Offset")), 10, 64)
	if err != nil || at < 0 || !given {
		return latchkey.Errorf(latchkey.KindBadRequest, "Upload-Offset and Upload-Complete: are needed")
	}
	if stored.State != latchkey.FileReceiving || stored.Direction != latchkey.ToInviter {
		return uploadProblem(w, http.StatusBadRequest, "completed-upload", "The upload is complete, or was cancelled", nil)
	}
	rel, uri, err := a.peer(r.Context(), stored.Account, "to", string(stored.Inviter))
	if err != nil {
		return err
	}
	release, err := a.beginUpload(stored.Account)
	if err != nil {
		return err
	}
	defer release()
	up, err := a.ports.Files.Resume(r.Context(), stored.ID)
	if err != nil {
		return err
	}
	if up.Offset() != at {
		expected := up.Offset()
		if err := up.Pause(r.Context()); err != nil {
			return err
		}
		a.uploadHeaders(w.Header(), stored, expected)
		return uploadProblem(w, http.StatusConflict, "mismatching-upload-offset", "The upload stands at another offset",
			map[string]any{"expected-offset": expected, "provided-offset": at})
	}
	n, ok, err := uploadLength(r)
	if err == nil && !ok && complete && r.ContentLength >= 0 {
		n, ok = at+r.ContentLength, true
	}
	if err == nil && ok {
		err = up.SetSize(r.Context(), n)
	}
	if err != nil {
		return errors.Join(err, up.Pause(r.Context()))
	}
	body, done := a.fileBody(w, r)
	defer done()
	return a.receive(w, r, f, rel, uri, up, body, complete, http.StatusNoContent)
}

// receive takes the bytes of one request of an upload. partly is the status where more are to come.
func (a *API) receive(w http.ResponseWriter, r *http.Request, f format, rel latchkey.Relation, uri latchkey.Address, up Upload, body io.Reader, complete bool, partly int) error {
	if complete { // else nobody knows when the rest comes
		a.coming(rel, up)
	}
	_, err := a.take(w, up, body)
	if err != nil {
		ctx := context.WithoutCancel(r.Context())
		if latchkey.Is(err, latchkey.KindTooLarge) {
			return errors.Join(err, up.Abort(ctx))
		}
		return errors.Join(err, up.Pause(ctx))
	}
	if complete {
		w.Header().Set("Upload-Complete", "?1")
		w.Header().Set("Upload-Offset", strconv.FormatInt(up.Offset(), 10))
		return a.commit(w, r, f, rel, uri, up)
	}
	offset, stored := up.Offset(), up.File()
	if err := up.Pause(r.Context()); err != nil {
		return err
	}
	a.uploadHeaders(w.Header(), stored, offset)
	w.WriteHeader(partly)
	return nil
}

// uploadProblem is a problem of the draft, which names its own types.
func uploadProblem(w http.ResponseWriter, status int, name, title string, more map[string]any) error {
	doc := map[string]any{"type": "https://iana.org/assignments/http-problem-types#" + name, "title": title, "status": status}
	for k, v := range more {
		doc[k] = v
	}
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_, _ = w.Write(quotedJSON(doc)) // a client that went away is nobody's failure
	return nil
}

// beginUpload takes a place among the uploads of a guest, or of an inviter's phones; release must be called once.
func (a *API) beginUpload(who latchkey.AccountID) (release func(), err error) {
	if release, err = a.uploads.enter(who); err != nil {
		a.tally.hit(maxUploads)
	}
	return release, err
}

// uploading counts the uploads of each guest, and each inviter, that are under way.
type uploading struct {
	most int
	mu   sync.Mutex
	now  map[latchkey.AccountID]int
}

// enter takes a place; release must be called once.
func (u *uploading) enter(account latchkey.AccountID) (release func(), err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.now[account] >= u.most {
		return nil, &latchkey.Error{Kind: latchkey.KindTooManyRequests, Public: "too many files are being sent at once", RetryAfter: 10 * time.Second, Err: errCrowded}
	}
	u.now[account]++
	return func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		if u.now[account]--; u.now[account] <= 0 {
			delete(u.now, account)
		}
	}, nil
}
