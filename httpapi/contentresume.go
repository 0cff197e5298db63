package httpapi

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"

	"latchkey"
	"latchkey/cpim"
)

// depositInfo is GET with ?tid=…: by get_upload_info a phone learns where an upload goes on that was cut off, by get_download_info the
// document of one that is whole, whose answer it may have missed. 404 tells it to begin anew.
func (a *API) depositInfo(w http.ResponseWriter, r *http.Request, who latchkey.Subscriber) error {
	q := query(r)
	_, up := q["get_upload_info"]
	_, down := q["get_download_info"]
	tid, err := transactionID(q["tid"])
	switch {
	case err != nil:
		return err
	case tid == "" || up == down:
		return latchkey.Errorf(latchkey.KindBadRequest, "tid, and either get_upload_info or get_download_info, are needed")
	}
	f, err := a.ports.Uploads.Transfer(r.Context(), who.ID(), tid)
	if err != nil {
		return err
	}
	if f, err = a.settledDeposit(r, f); err != nil {
		return err
	}
	if down {
		if f.State == latchkey.FileReceiving {
			return latchkey.Errorf(latchkey.KindNotFound, "the file is not whole")
		}
		return a.depositDocument(w, r, f)
	}
	return a.depositStands(w, r, f)
}

// settledDeposit completes an upload of which every byte is here, and only its end was missed: there is nothing that a phone could go on with.
func (a *API) settledDeposit(r *http.Request, f latchkey.StoredFile) (latchkey.StoredFile, error) {
	if f.State != latchkey.FileReceiving || f.Size <= 0 {
		return f, nil
	}
	if n, err := a.ports.Uploads.Offset(r.Context(), f); err != nil || n < f.Size {
		return f, err
	}
	up, err := a.ports.Uploads.Resume(r.Context(), f.ID)
	switch {
	case latchkey.Is(err, latchkey.KindConflict): // it has come to its end meanwhile
		return a.ports.Uploads.Find(r.Context(), f.ID)
	case err != nil:
		return f, err
	}
	return up.Commit(r.Context())
}

// depositStands tells how far an upload has come. A range of no octets can't be written: such an upload is as good as none.
func (a *API) depositStands(w http.ResponseWriter, r *http.Request, f latchkey.StoredFile) error {
	n, err := a.ports.Uploads.Offset(r.Context(), f)
	if err != nil {
		return err
	}
	if n <= 0 {
		return latchkey.Errorf(latchkey.KindNotFound, "nothing of the file is here")
	}
	w.Header().Set("Content-Type", "application/xml")
	writeBody(w, r, http.StatusOK, cpim.FileResume{End: n - 1, URL: a.contentURL() + "/" + string(f.ID)}.XML())
	return nil
}

// contentURL is the content server's address as phones know it.
func (a *API) contentURL() string {
	if a.opt.ContentURL != "" {
		return strings.TrimRight(a.opt.ContentURL, "/")
	}
	return strings.TrimRight(a.opt.PublicURL, "/") + contentPath
}

// depositRest is PUT of the rest of a file, with Content-Range. What comes twice, since phones count differently, is passed over.
func (a *API) depositRest(w http.ResponseWriter, r *http.Request, who latchkey.Subscriber, id string) error {
	f, err := a.ports.Uploads.Find(r.Context(), latchkey.FileID(id))
	if err == nil && f.Inviter != who.ID() {
		err = latchkey.Errorf(latchkey.KindNotFound, "No such file.")
	}
	if err != nil {
		return err
	}
	if err := plainBody(r); err != nil {
		return err
	}
	start, total, err := contentRange(r.Header.Get("Content-Range"))
	if err != nil {
		return err
	}
	release, err := a.beginUpload(latchkey.AccountID(who.ID()))
	if err != nil {
		return err
	}
	defer release()
	body, done := a.fileBody(w, r)
	defer done()
	if f.State != latchkey.FileReceiving {
		_, _ = io.Copy(io.Discard, io.LimitReader(body, a.ports.Uploads.MaxSize())) // a phone that still writes may miss the answer
		return a.depositDocument(w, r, f)
	}
	up, err := a.ports.Uploads.Resume(r.Context(), f.ID)
	if err != nil {
		return err
	}
	at := up.Offset()
	if start > at {
		return errors.Join(latchkey.Errorf(latchkey.KindBadRange, "the file is here up to byte %d", at), up.Pause(r.Context()))
	}
	if total >= 0 {
		if err := up.SetSize(r.Context(), total); err != nil {
			return errors.Join(err, up.Pause(r.Context()))
		}
	}
	if _, err = io.CopyN(io.Discard, body, at-start); err != nil {
		return errors.Join(latchkey.Wrap(latchkey.KindBadRequest, err, "the body ended early"), up.Pause(r.Context()))
	}
	if _, err = a.take(w, up, body); err != nil {
		return errors.Join(err, leaveDeposit(r.Context(), up, err))
	}
	if up.File().Size >= 0 && up.Offset() < up.File().Size {
		f = up.File()
		if err := up.Pause(r.Context()); err != nil {
			return err
		}
		return a.depositStands(w, r, f)
	}
	return a.commitDeposit(w, r, up)
}

// contentRange reads the first octet and the file's length, or latchkey.UnknownSize (RFC 9110 §14.4). rust-rcs-client (720b42fa) writes no unit.
func contentRange(v string) (start, total int64, err error) {
	wrong := latchkey.Errorf(latchkey.KindBadRequest, "Content-Range: must be as bytes 100-999/1000")
	v = strings.TrimSpace(v)
	if unit, rest, ok := strings.Cut(v, " "); ok {
		if !strings.EqualFold(unit, "bytes") {
			return 0, 0, wrong
		}
		v = rest
	}
	span, length, ok := strings.Cut(v, "/")
	first, last, ok2 := strings.Cut(span, "-")
	if !ok || !ok2 {
		return 0, 0, wrong
	}
	number := func(s string) (int64, error) {
		n, err := strconv.ParseUint(strings.TrimSpace(s), 10, 63)
		return int64(n), err //nolint:gosec // of 63 bits
	}
	start, err = number(first)
	end, err2 := number(last)
	total = latchkey.UnknownSize
	var err3 error
	if strings.TrimSpace(length) != "*" {
		total, err3 = number(length)
	}
	if errors.Join(err, err2, err3) != nil || end < start || total >= 0 && end >= total {
		return 0, 0, wrong
	}
	return start, total, nil
}
