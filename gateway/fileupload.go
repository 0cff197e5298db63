package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"latchkey"
	"latchkey/directory"
	"latchkey/files"
	"latchkey/httpapi"
	"latchkey/registrar"
	"latchkey/storage"
)

// UploadMode is how inviters' phones may put files on the content server (PROTOCOLS B3.13).
type UploadMode string

// The modes: by the directory's credentials, in either form, or a trusted proxy's word, by the latter alone, or not at all.
const (
	BasicUploads    UploadMode = "basic"
	DigestUploads   UploadMode = "digest"
	AssertedUploads UploadMode = "asserted"
	NoUploads       UploadMode = "none"
)

func setFileUpload(c *Config, v string) error {
	return oneOf(v, &c.FileUpload, BasicUploads, DigestUploads, AssertedUploads, NoUploads)
}

func setFileUploadURL(c *Config, v string) error {
	u, err := url.Parse(v)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return fmt.Errorf("%q is not an http:// or https:// URL", v)
	}
	if u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return errors.New("has more in it than scheme, host and path")
	}
	c.FileUploadTo = strings.TrimRight(v, "/")
	return nil
}

// limitedNames are a directory whose users have, beside what it says of them, the time-limited names of sip-auth ephemeral: a phone that registers
// by such a name at the core uploads by it, too. Guests' accounts are in no directory, and so upload nothing here.
type limitedNames struct {
	userCentre
	auth registrar.Auth
}

// Digest gives the user of a name and what Digest is checked by.
func (l limitedNames) Digest(ctx context.Context, user, algorithm string) (who latchkey.Subscriber, a1 string, err error) {
	unknown := latchkey.Errorf(latchkey.KindUnauthorized, "")
	name, password, ok := l.auth.Limited(user, time.Now())
	if !ok {
		if d, ok := l.userCentre.(httpapi.Digests); ok {
			return d.Digest(ctx, user, algorithm)
		}
		return who, "", unknown
	}
	uri, err := latchkey.ParseAddress(name)
	if err != nil {
		uri, err = latchkey.ParseAddress("sip:" + name) // as SIP has it, TS 23.003 §13.3 (unverified)
	}
	if err != nil {
		return who, "", unknown
	}
	if who, err = l.FindURI(ctx, uri); latchkey.Is(err, latchkey.KindNotFound) {
		return who, "", unknown
	}
	return who, directory.DigestSum(algorithm, user, password.Reveal()), err
}

// passport is the directory as the facade needs it.
func (g *Gateway) passport() httpapi.Directory {
	if g.config.FileUpload == DigestUploads && g.config.SIPAuth.String() == "ephemeral" {
		return limitedNames{g.directory, g.config.SIPAuth}
	}
	return g.directory
}

// uploadsFolder is where uploads lie, below the other files, whose folders have two characters.
const uploadsFolder = "uploads"

// depot is the vault of uploads as the facade needs it.
type depot struct {
	shelf
	rows storage.Deposits
}

// Transfer finds an upload by its phone's name of it.
func (d depot) Transfer(ctx context.Context, inviter latchkey.InviterID, tid string) (latchkey.StoredFile, error) {
	return d.rows.Transfer(ctx, inviter, tid)
}

// contentServer is the facade's port; nil: there is none.
func (g *Gateway) contentServer() httpapi.Uploads {
	if g.uploads == nil {
		return nil
	}
	return depot{shelf{g.uploads}, g.db.Deposits()}
}

// ownFile answers a request for a file that is here, uploaded by an inviter's phone or sent by a guest: what has our own address is not
// fetched through the network, where perhaps nobody but proxies is to be asked. Nil: it is none of ours.
func (g *Gateway) ownFile(r *http.Request) *http.Response {
	base, err := url.Parse(g.URL() + files.PublicPath)
	if err != nil || r.URL.Scheme != base.Scheme || !strings.EqualFold(r.URL.Host, base.Host) || r.Method != http.MethodGet {
		return nil
	}
	rest, ok := strings.CutPrefix(r.URL.Path, base.Path)
	if !ok {
		return nil
	}
	key, preview := strings.CutSuffix(rest, files.PreviewPath)
	for _, v := range []*files.Vault{g.files, g.uploads} {
		if v == nil {
			continue
		}
		f, err := v.FindByKey(r.Context(), key)
		switch {
		case latchkey.Is(err, latchkey.KindNotFound):
			continue
		case err != nil:
			return answerOwn(r, latchkey.KindOf(err).Row().HTTP, nil)
		case preview:
			return ownPreview(r, v, f)
		}
		return ownBytes(r, v, f)
	}
	return answerOwn(r, http.StatusNotFound, nil)
}

// answerOwn is an answer without body, as http.Client takes it.
func answerOwn(r *http.Request, status int, header http.Header) *http.Response {
	if header == nil {
		header = http.Header{}
	}
	return &http.Response{
		StatusCode: status, Status: http.StatusText(status), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: header, Body: http.NoBody, Request: r,
	}
}

func ownPreview(r *http.Request, v *files.Vault, f latchkey.StoredFile) *http.Response {
	kind, picture, err := v.Preview(r.Context(), f)
	if err != nil {
		return answerOwn(r, latchkey.KindOf(err).Row().HTTP, nil)
	}
	res := answerOwn(r, http.StatusOK, http.Header{"Content-Type": {kind}})
	res.Body, res.ContentLength = io.NopCloser(strings.NewReader(string(picture))), int64(len(picture))
	return res
}

// ownBytes gives a file from the offset on that the vault asks for, where it is still the same (RFC 9110 §13.1.5, §14.2).
func ownBytes(r *http.Request, v *files.Vault, f latchkey.StoredFile) *http.Response {
	var content io.ReadSeekCloser
	content, err := v.Open(r.Context(), f)
	if err != nil {
		return answerOwn(r, latchkey.KindOf(err).Row().HTTP, nil)
	}
	tag := `"` + string(f.ID) + `"`
	from, status := int64(0), http.StatusOK
	if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from); err == nil && (r.Header.Get("If-Range") == "" || r.Header.Get("If-Range") == tag) {
		status = http.StatusPartialContent
	} else {
		from = 0
	}
	if from > 0 && from >= f.Size {
		_ = content.Close()
		return answerOwn(r, http.StatusRequestedRangeNotSatisfiable, nil)
	}
	if _, err := content.Seek(from, io.SeekStart); err != nil {
		_ = content.Close()
		return answerOwn(r, http.StatusInternalServerError, nil)
	}
	res := answerOwn(r, status, http.Header{"Content-Type": {f.Type}, "Etag": {tag}})
	if status == http.StatusPartialContent {
		res.Header.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, f.Size-1, f.Size))
	}
	res.Body, res.ContentLength = content, f.Size-from
	return res
}
