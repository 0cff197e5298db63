package httpapi

import (
	"context"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"

	"latchkey"
)

// The content server of RCS's file transfer over HTTP (RCC.07 §3.2.5.4 (unverified); PROTOCOLS B3.13): an inviter's stock phone puts a
// file here, gets a document with its address, and sends that to whom it likes. The phone asks for leave by an empty POST, uploads by a
// second one, and goes on after a cut by contentresume.go. It retries by itself after 503 alone, so that all that may pass is 503 here.

// contentPath is where phones upload: what their provisioning calls ftHTTPCSURI, below the public URL.
const contentPath = "/rcsgw/ft"

// intendedHeader is whom a phone means to be, where it may be several (TS 24.109 §6.4 (unverified)).
const intendedHeader = "X-3GPP-Intended-Identity"

// Uploads is what the facade needs of the room that keeps what inviters' phones upload.
type Uploads interface {
	Files
	// Transfer is the file of an inviter's transaction id.
	Transfer(ctx context.Context, inviter latchkey.InviterID, tid string) (latchkey.StoredFile, error)
	// Document tells where a file is to be fetched.
	Document(ctx context.Context, f latchkey.StoredFile) (contentType string, body []byte, err error)
}

// contentMethods are those of the content server.
func (a *API) contentMethods() methods {
	return methods{http.MethodPost: a.forPhone(a.deposit), http.MethodGet: a.forPhone(a.depositInfo)}
}

// forPhone binds who asks, and turns what may pass into 503 with Retry-After.
func (a *API) forPhone(h func(w http.ResponseWriter, r *http.Request, who latchkey.Subscriber) error) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		who, err := a.depositor(r)
		if err == nil {
			err = h(w, r, who)
		}
		switch latchkey.KindOf(err) {
		case latchkey.KindTooManyRequests, latchkey.KindBusy, latchkey.KindNoSpace, latchkey.KindDirectoryFailed, latchkey.KindDirectoryTimeout:
			return &latchkey.Error{Kind: latchkey.KindUnavailable, Err: err, RetryAfter: latchkey.RetryAfter(err)}
		}
		return err
	}
}

// depositor is whose phone it is.
func (a *API) depositor(r *http.Request) (latchkey.Subscriber, error) {
	if a.opt.AssertedUploads {
		if r.Header.Get(assertedHeader) == "" || !a.trusts(peerOf(r)) { // no challenge: a phone would answer it in vain
			return latchkey.Subscriber{}, latchkey.Errorf(latchkey.KindNotAllowed, "files are uploaded by way of the operator's proxy")
		}
		r.Header.Del("Authorization")
	}
	prove := a.inviter
	if a.opt.DigestUploads && (r.Header.Get("Authorization") != "" || r.Header.Get(assertedHeader) == "" || !a.trusts(peerOf(r))) {
		prove = a.digested
	}
	who, err := prove(r)
	if err != nil {
		return who, err
	}
	if who.State == latchkey.Suspended || who.State == latchkey.Lost {
		return who, latchkey.Errorf(latchkey.KindNotAllowed, "the subscription is not active")
	}
	if v := strings.Trim(r.Header.Get(intendedHeader), `"<> `); v != "" {
		uri, err := latchkey.ParseAddress(v)
		if err != nil {
			return who, latchkey.Errorf(latchkey.KindBadRequest, "%s: is not a URI", intendedHeader)
		}
		switch other, registered, err := a.ports.Desk.RegisteredURI(r.Context(), uri); {
		case err != nil:
			return who, err
		case registered && other.ID() != who.ID():
			return who, latchkey.Errorf(latchkey.KindNotAllowed, "%s: is somebody else", intendedHeader)
		}
	}
	return who, nil
}

// deposit is POST: without a body the question whether there may be a file, else a form with tid, Thumbnail and File.
func (a *API) deposit(w http.ResponseWriter, r *http.Request, who latchkey.Subscriber) error {
	kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/form-data" {
		return a.knock(w, r)
	}
	if params["boundary"] == "" {
		return latchkey.Errorf(latchkey.KindBadRequest, "Content-Type: has no boundary")
	}
	if err := plainBody(r); err != nil {
		return err
	}
	if r.ContentLength > a.ports.Uploads.MaxSize()+a.opt.MaxBody {
		return latchkey.Errorf(latchkey.KindTooLarge, "a file may have %d bytes", a.ports.Uploads.MaxSize())
	}
	release, err := a.beginUpload(latchkey.AccountID(who.ID()))
	if err != nil {
		return err
	}
	defer release()
	body, done := a.fileBody(w, r)
	defer done()
	in := depositForm{form: multipart.NewReader(body, params["boundary"]), size: latchkey.UnknownSize}
	if err := in.readTo(true); err != nil {
		return err
	}
	up, stored, err := a.beginDeposit(r.Context(), who, in)
	if err != nil {
		return err
	}
	if up == nil { // its answer was lost on the way
		if _, err := io.Copy(io.Discard, io.LimitReader(body, a.ports.Uploads.MaxSize()+a.opt.MaxBody)); err != nil {
			return latchkey.Wrap(latchkey.KindBadRequest, err, "the body ended early")
		}
		return a.depositDocument(w, r, stored)
	}
	if _, err = a.take(w, up, in.file); err == nil {
		err = in.readTo(false)
	}
	if err == nil {
		err = in.keepThumbnail(r.Context(), up)
	}
	if err != nil {
		return errors.Join(err, leaveDeposit(r.Context(), up, err))
	}
	return a.commitDeposit(w, r, up)
}

// knock answers the empty POST by which a phone finds out what it needs to upload.
func (a *API) knock(w http.ResponseWriter, r *http.Request) error {
	body, done := a.fileBody(w, r)
	defer done()
	if n, _ := io.ReadFull(body, make([]byte, 1)); n > 0 {
		return latchkey.Errorf(latchkey.KindUnsupportedMedia, "Content-Type: send multipart/form-data")
	}
	return nothing(w)
}

// depositForm is the form of an upload: tid, Thumbnail and File, in this order; phones write the names in their own case.
type depositForm struct {
	form      *multipart.Reader
	tid       string
	thumbType string
	thumb     []byte
	name      string
	fileType  string
	size      int64 // as the part says, or latchkey.UnknownSize
	file      io.Reader
}

// maxThumbnail is how much of a small picture is read; what is longer is no preview.
const maxThumbnail = 256 << 10

// readTo reads up to the file, or behind it up to the form's end: what ends without that, as an upload that is paused does, is not whole.
func (d *depositForm) readTo(file bool) error {
	for range maxFormFields {
		part, err := d.form.NextPart()
		if errors.Is(err, io.EOF) {
			if file {
				return latchkey.Errorf(latchkey.KindBadRequest, "the form has no File")
			}
			return nil
		}
		if err != nil {
			return latchkey.Wrap(latchkey.KindBadRequest, err, "the form can't be read")
		}
		switch name := strings.ToLower(part.FormName()); {
		case name == "file" && !file:
			return latchkey.Errorf(latchkey.KindBadRequest, "the form has two Files")
		case name == "file":
			d.name, d.fileType, d.file = uploadedName(dispositionName(part.Header.Get("Content-Disposition"))), part.Header.Get("Content-Type"), part
			if n, err := strconv.ParseInt(part.Header.Get("Content-Length"), 10, 64); err == nil && n >= 0 {
				d.size = n
			}
			return nil
		case name == "thumbnail":
			d.thumbType = part.Header.Get("Content-Type")
			if d.thumb, err = io.ReadAll(io.LimitReader(part, maxThumbnail)); err != nil {
				return latchkey.Wrap(latchkey.KindBadRequest, err, "the form can't be read")
			}
		case name == "tid":
			b, err := io.ReadAll(io.LimitReader(part, maxFormField))
			if err != nil {
				return latchkey.Wrap(latchkey.KindBadRequest, err, "the form can't be read")
			}
			if d.tid, err = transactionID(string(b)); err != nil {
				return err
			}
		}
	}
	return latchkey.Errorf(latchkey.KindBadRequest, "the form has too many fields")
}

// transactionID is a phone's name of a transfer.
func transactionID(s string) (string, error) {
	if s = strings.TrimSpace(s); len(s) > 128 || strings.ContainsFunc(s, func(c rune) bool { return !unicode.IsPrint(c) || c == unicode.ReplacementChar }) {
		return "", latchkey.Errorf(latchkey.KindBadRequest, "tid: is longer than 128 characters, or holds some that are none")
	}
	return s, nil
}

// uploadedName undoes what rcsjta (f9e1e610) does to file names: it sends them as if in a query.
func uploadedName(s string) string {
	if !strings.Contains(s, " ") {
		if name, err := url.QueryUnescape(s); err == nil {
			return name
		}
	}
	return s
}

// keepThumbnail stores the small picture, once.
func (d *depositForm) keepThumbnail(ctx context.Context, up Upload) error {
	if len(d.thumb) == 0 || len(d.thumb) == maxThumbnail {
		return nil
	}
	err := up.SetPreview(ctx, d.thumbType, d.thumb)
	d.thumb = nil
	return err
}

// beginDeposit makes room for a file. One of a transaction id that was cut off begins anew; one that is whole needs nothing, and up is nil.
func (a *API) beginDeposit(ctx context.Context, who latchkey.Subscriber, in depositForm) (up Upload, stored latchkey.StoredFile, err error) {
	f := latchkey.StoredFile{Inviter: who.ID(), Direction: latchkey.Deposit, Name: in.name, Type: in.fileType, Size: in.size, ClientID: in.tid}
	for range 2 {
		var repeated bool
		if up, stored, repeated, err = a.ports.Uploads.Create(ctx, f); err != nil {
			return nil, stored, err
		}
		if !repeated {
			return up, stored, in.keepThumbnail(ctx, up) // it is there for who goes on after a cut
		}
		if stored.State != latchkey.FileReceiving {
			if in.size >= 0 && in.size != stored.Size {
				return nil, stored, latchkey.Errorf(latchkey.KindConflict, "tid: was used for another file")
			}
			return nil, stored, nil
		}
		if in.size == stored.Size {
			break
		}
		if err := a.ports.Uploads.Cancel(ctx, stored); err != nil { // it is another one by now
			return nil, stored, err
		}
	}
	if up, err = a.ports.Uploads.Resume(ctx, stored.ID); err == nil {
		if err = up.Restart(); err != nil {
			err = errors.Join(err, up.Abort(ctx))
		}
	}
	return up, stored, err
}

// leaveDeposit keeps the part of a file whose way broke, for as long as vaults keep such parts, and nothing of one that can't be.
func leaveDeposit(ctx context.Context, up Upload, why error) error {
	ctx = context.WithoutCancel(ctx)
	if e, ok := errors.AsType[*latchkey.Error](why); ok && e.Kind == latchkey.KindBadRequest && e.Err != nil && up.Offset() > 0 || latchkey.Is(why, latchkey.KindConflict) {
		return up.Pause(ctx)
	}
	return up.Abort(ctx)
}

// commitDeposit completes a file and tells its address.
func (a *API) commitDeposit(w http.ResponseWriter, r *http.Request, up Upload) error {
	c := http.NewResponseController(w)
	_ = c.SetWriteDeadline(time.Now().Add(answerTime)) // a scanner takes its time
	stored, err := up.Commit(r.Context())
	if err != nil {
		return err
	}
	_ = c.SetWriteDeadline(time.Now().Add(answerTime))
	return a.depositDocument(w, r, stored)
}

// depositDocument answers with what the phone sends on.
func (a *API) depositDocument(w http.ResponseWriter, r *http.Request, f latchkey.StoredFile) error {
	contentType, body, err := a.ports.Uploads.Document(r.Context(), f)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", contentType)
	writeBody(w, r, http.StatusOK, body)
	return nil
}
