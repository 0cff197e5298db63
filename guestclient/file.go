package guestclient

import (
	"context"
	"crypto/sha1" //nolint:gosec // RFC 5547 §6 names files by it
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

// File is one file of a conversation, or what an event tells of it.
type File struct {
	ID      string    `json:"id"`
	From    string    `json:"from,omitempty"`
	To      string    `json:"to,omitempty"`
	Name    string    `json:"name"`
	Size    int64     `json:"size"`
	Type    string    `json:"type"`
	Preview bool      `json:"preview,omitempty"` // there is a small picture of it
	State   string    `json:"state,omitempty"`   // receiving, accepted, sent, delivered, displayed, failed
	Reason  string    `json:"reason,omitempty"`
	SHA1    string    `json:"sha1,omitempty"` // hexadecimal
	Sent    int64     `json:"sent,omitempty"` // in delivery events of a file under way: bytes that the inviter has
	Time    time.Time `json:"time,omitzero"`
	Expires time.Time `json:"expires,omitzero"`
}

const filePath = "/rcsgw/invitee/file"

// SendFile hands the gateway a file for an inviter. Where the connection breaks it goes on behind what the gateway has
// (draft-ietf-httpbis-resumable-upload), until ctx ends; the inviter gets the file once. What becomes of it comes
// as delivery events. The content is read once before, for its hash: so the inviter's phone can have it while it is sent.
func (c *Client) SendFile(ctx context.Context, to, name, contentType string, content io.ReadSeeker) (File, error) {
	return c.SendFileAs(ctx, NewID(), to, name, contentType, content)
}

// SendFileAs is SendFile with an id of the caller's, so that a caller that died goes on where it was. One id stands for
// one file.
func (c *Client) SendFileAs(ctx context.Context, id, to, name, contentType string, content io.ReadSeeker) (File, error) {
	size, err := content.Seek(0, io.SeekEnd)
	if err != nil {
		return File{}, err
	}
	hash, err := declare(ctx, content, size)
	if err != nil {
		return File{}, err
	}
	var f File
	var overtaken *overtakenError
	err = c.persist(ctx, func() error {
		f = File{}
		if overtaken != nil {
			if gone, err := c.gone(ctx, overtaken.location); err != nil {
				return err
			} else if gone { // it was cancelled elsewhere; asking would begin it anew
				return overtaken.Problem
			}
		}
		// The name first, without a byte: the answer says where to go on, and from which byte. A repeat is told the same, or, where only
		// the last answer was lost, all.
		req, err := c.request(ctx, http.MethodPost, filePath+"?"+url.Values{"to": {to}, "id": {id}}.Encode(), nil)
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", contentType)
		req.Header.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": name}))
		req.Header.Set("Upload-Complete", "?0")
		req.Header.Set("Upload-Length", strconv.FormatInt(size, 10))
		req.Header.Set("Repr-Digest", hash)
		header, err := c.fileAnswer(req, &f)
		if err != nil || f.ID != "" {
			return err
		}
		offset, err := strconv.ParseInt(header.Get("Upload-Offset"), 10, 64)
		if err != nil || offset < 0 || offset > size {
			return fmt.Errorf("the gateway asks for the file from %.40q on", header.Get("Upload-Offset"))
		}
		err = c.sendRest(ctx, header.Get("Location"), content, offset, size, &f)
		overtaken, _ = errors.AsType[*overtakenError](err)
		return err
	})
	return f, err
}

// declare is the Repr-Digest of a file (RFC 9530): its SHA-1, by which phones know it. What can be read beside its Read (io.ReaderAt) is, so that
// who counts what is sent counts right.
func declare(ctx context.Context, content io.ReadSeeker, size int64) (string, error) {
	h, from := sha1.New(), io.Reader(content) //nolint:gosec // see the import
	if at, ok := content.(io.ReaderAt); ok {
		from = io.NewSectionReader(at, 0, size)
	} else if _, err := content.Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	for left := size; left > 0; {
		n, err := io.CopyN(h, from, min(left, 8<<20))
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return "", err
		}
		left -= n
	}
	return "sha=:" + base64.StdEncoding.EncodeToString(h.Sum(nil)) + ":", nil
}

// sendRest sends the file from an offset to its end.
func (c *Client) sendRest(ctx context.Context, location string, content io.ReadSeeker, offset, size int64, f *File) error {
	u, err := c.own(location)
	if err != nil {
		return err
	}
	if _, err := content.Seek(offset, io.SeekStart); err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPatch, u.String(), nil)
	if err != nil {
		return err
	}
	body := &lent{r: io.LimitReader(content, size-offset)}
	defer body.Close()
	req.Body = body
	req.ContentLength = size - offset
	if req.ContentLength == 0 {
		req.Body = http.NoBody
	}
	req.SetBasicAuth(c.account, c.password)
	req.Header.Set("Accept", "application/json")
	req.Header.Set("Content-Type", "application/partial-upload")
	req.Header.Set("Upload-Offset", strconv.FormatInt(offset, 10))
	req.Header.Set("Upload-Complete", "?1")
	_, err = c.fileAnswer(req, f)
	if p, ok := errors.AsType[*Problem](err); ok && (p.Status == http.StatusConflict || strings.HasSuffix(p.Type, "#completed-upload")) {
		return &overtakenError{p, location}
	}
	return err
}

// lent is content in the hands of net/http, which may still read it when an answer came early; not after Close, when the next attempt
// has it.
type lent struct {
	mu   sync.Mutex
	r    io.Reader
	over bool
}

func (l *lent) Read(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return 0, io.ErrClosedPipe
	}
	return l.r.Read(p)
}

func (l *lent) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.over = true
	return nil
}

// overtakenError says that the gateway goes on with another request for the same file: what a connection that broke still held came
// to it late. Where the upload stands now is to be asked anew.
type overtakenError struct {
	*Problem
	location string
}

// Unwrap gives what the gateway said.
func (e *overtakenError) Unwrap() error { return e.Problem }

// gone reports whether an upload is no more.
func (c *Client) gone(ctx context.Context, location string) (bool, error) {
	u, err := c.own(location)
	if err != nil {
		return false, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, u.String(), nil)
	if err != nil {
		return false, err
	}
	req.SetBasicAuth(c.account, c.password)
	res, err := c.http.Do(req)
	if err != nil {
		return false, err
	}
	return res.StatusCode == http.StatusNotFound, res.Body.Close()
}

// fileAnswer makes a request and reads a file from the answer, where there is one.
func (c *Client) fileAnswer(req *http.Request, f *File) (http.Header, error) {
	res, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	switch res.StatusCode {
	case http.StatusOK, http.StatusAccepted:
		err = json.NewDecoder(&bodyReader{io.LimitReader(res.Body, maxAnswer)}).Decode(f)
	case http.StatusCreated, http.StatusNoContent:
		_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, maxAnswer)) // so that the connection is used again
	default:
		err = readProblem(res)
	}
	return res.Header, err
}

// Fetch writes a file to w, from the byte offset on, and says how many bytes it wrote. An error may come after some of
// them: call again with the offset behind what is there.
func (c *Client) Fetch(ctx context.Context, id string, offset int64, w io.Writer) (int64, error) {
	return c.fetch(ctx, filePath+"/"+url.PathEscape(id), offset, w)
}

// FetchPreview writes the small picture of a file.
func (c *Client) FetchPreview(ctx context.Context, id string, w io.Writer) error {
	_, err := c.fetch(ctx, filePath+"/"+url.PathEscape(id)+"?preview=1", 0, w)
	return err
}

// Download is Fetch that goes on behind what came where the connection breaks, until ctx ends. With the offset of what a
// download before it has left, it is one more part of the same file.
func (c *Client) Download(ctx context.Context, id string, offset int64, w io.Writer) (int64, error) {
	total, pause := int64(0), c.back
	for {
		n, err := c.Fetch(ctx, id, offset+total, w)
		total += n
		if err == nil || !passing(err) || ctx.Err() != nil {
			return total, err
		}
		if n > 0 {
			pause = c.back
		}
		if waitErr := sleep(ctx, max(jitter(pause), retryAfter(err))); waitErr != nil {
			return total, err
		}
		pause = min(2*pause, maxBack)
	}
}

func (c *Client) fetch(ctx context.Context, path string, offset int64, w io.Writer) (int64, error) {
	req, err := c.request(ctx, http.MethodGet, path, nil)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Accept", "*/*")
	want := http.StatusOK
	if offset > 0 {
		req.Header.Set("Range", "bytes="+strconv.FormatInt(offset, 10)+"-")
		want = http.StatusPartialContent
	}
	res, err := c.http.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	if res.StatusCode == http.StatusRequestedRangeNotSatisfiable && res.Header.Get("Content-Range") == fmt.Sprintf("bytes */%d", offset) {
		return 0, nil // RFC 9110 §15.5.17: the file ends here, so all of it is there
	}
	if res.StatusCode != want {
		return 0, readProblem(res)
	}
	return io.Copy(w, &bodyReader{res.Body})
}

// AbandonFile takes back a file that SendFileAs has begun under an id and whose context has ended, so that the gateway keeps
// no part of it.
func (c *Client) AbandonFile(ctx context.Context, id, to string) error {
	return c.persist(ctx, func() error {
		req, err := c.request(ctx, http.MethodPost, filePath+"?"+url.Values{"to": {to}, "id": {id}}.Encode(), nil)
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", "application/octet-stream")
		req.Header.Set("Upload-Complete", "?0")
		var f File
		header, err := c.fileAnswer(req, &f)
		if err != nil {
			return err
		}
		if f.ID == "" {
			place, err := c.own(header.Get("Location"))
			if err != nil {
				return err
			}
			_, f.ID, _ = strings.Cut(place.Path, filePath+"/")
		}
		return c.CancelFile(ctx, f.ID)
	})
}

// own is an address of this gateway. The password belongs to it; no answer may send the client elsewhere.
func (c *Client) own(location string) (*url.URL, error) {
	base, err := url.Parse(c.base)
	if err != nil {
		return nil, err
	}
	u, err := base.Parse(location)
	if err != nil || location == "" || u.Scheme != base.Scheme || u.Host != base.Host {
		return nil, fmt.Errorf("the gateway names no place for the file: %.100q", location)
	}
	return u, nil
}

// Files lists the files exchanged with an inviter, as History does messages.
func (c *Client) Files(ctx context.Context, with, before string, limit int) ([]File, error) {
	q := url.Values{"with": {with}}
	if before != "" {
		q.Set("before", before)
	}
	if limit > 0 {
		q.Set("limit", strconv.Itoa(limit))
	}
	var page struct {
		Files []File `json:"files"`
	}
	err := c.call(ctx, http.MethodGet, filePath+"?"+q.Encode(), nil, &page)
	return page.Files, err
}

// CancelFile takes back a file that is on its way to an inviter, and forgets any other.
func (c *Client) CancelFile(ctx context.Context, id string) error {
	return c.call(ctx, http.MethodDelete, filePath+"/"+url.PathEscape(id), nil, nil)
}
