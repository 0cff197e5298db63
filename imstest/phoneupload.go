package imstest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Uploader puts files on a content server as stock clients do (PROTOCOLS B3.13). It writes HTTP by itself, byte for byte: like rcsjta
// (f9e1e610), or with Rust like rust-rcs-client (720b42fa), which names lengths in other places and counts otherwise when it resumes.
type Uploader struct {
	URL            string // of the content server, as provisioned
	User, Password string // as provisioned; "": none
	Fields         []string
	Rust           bool
	Waited         time.Duration // by Retry-After
}

// UploadFile is a file for a content server.
type UploadFile struct {
	TID, Name, Type string
	Body, Thumb     []byte
	CutAt           int  // the connection is closed after so many octets of the file; 0: never
	Unended         bool // the last boundary is left out, as rcsjta does when its user pauses
}

// UploadRefused is a status that ends an upload.
type UploadRefused struct {
	Status int
	Body   string
}

// Error tells it.
func (u *UploadRefused) Error() string {
	return fmt.Sprintf("content server: %d %.200s", u.Status, u.Body)
}

var errUploadCut = errors.New("the upload was cut off")

// Upload asks by an empty POST, answers the challenge if there is one, and uploads. It returns the document that the server gives.
func (u *Uploader) Upload(ctx context.Context, f UploadFile) (document string, err error) {
	authorization := ""
	for range 3 {
		res, err := u.exchange(ctx, "POST", u.URL, "", 0, func(io.Writer) error { return nil })
		if err != nil {
			return "", err
		}
		switch res.status {
		case 204:
		case 401:
			if authorization = u.answer(res.header, "POST", u.URL); authorization == "" {
				return "", &UploadRefused{res.status, "challenge " + res.header.Get("WWW-Authenticate")}
			}
		case 503:
			if err := u.wait(ctx, res.header); err != nil {
				return "", err
			}
			continue
		default:
			return "", &UploadRefused{res.status, res.body}
		}
		return u.post(ctx, authorization, f)
	}
	return "", &UploadRefused{503, "again and again"}
}

// answer makes the credentials for a challenge; "": it is not known. With Rust it is the first one's, and its algorithm; rcsjta takes the last one, and MD5 for
// any, names neither the algorithm nor the query, and quotes qop.
func (u *Uploader) answer(h http.Header, method, address string) string {
	all := h.Values("WWW-Authenticate")
	if len(all) == 0 || u.User == "" {
		return ""
	}
	challenge := all[len(all)-1]
	if u.Rust {
		challenge = all[0]
	}
	at, err := url.Parse(address)
	switch {
	case err != nil:
		return ""
	case strings.HasPrefix(challenge, "Basic "):
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(u.User+":"+u.Password))
	case !strings.HasPrefix(challenge, "Digest "):
		return ""
	case u.Rust:
		return authorization(challenge, method, at.RequestURI(), u.User, u.Password)
	}
	p := digestParams(challenge)
	p["algorithm"], p["username"], p["uri"], p["qop"], p["nc"], p["cnonce"] = "MD5", u.User, at.Path, "auth", "00000001", token()
	return fmt.Sprintf(`Digest username="%s",realm="%s",nonce="%s",uri="%s",nc=00000001,cnonce="%s",qop="auth",response="%s"`,
		u.User, p["realm"], p["nonce"], at.Path, p["cnonce"], digestResponse(p, method, u.Password))
}

func (u *Uploader) wait(ctx context.Context, h http.Header) error {
	n, err := strconv.Atoi(h.Get("Retry-After"))
	if err != nil || n <= 0 {
		return &UploadRefused{503, "Retry-After " + h.Get("Retry-After")}
	}
	u.Waited += time.Duration(n) * time.Second
	select {
	case <-time.After(time.Duration(n) * time.Second):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// post sends the form.
func (u *Uploader) post(ctx context.Context, authorization string, f UploadFile) (string, error) {
	const boundary = "boundary1"
	var head bytes.Buffer
	name := url.QueryEscape(f.Name)
	thumbName := "thumb_" + f.Name
	if u.Rust {
		name, thumbName = f.Name, f.Name+".thumb"
	}
	part := func(field, file, kind string, n int) {
		fmt.Fprintf(&head, "--%s\r\nContent-Disposition: form-data; name=\"%s\"%s\r\nContent-Type: %s\r\n", boundary, field, file, kind)
		if u.Rust && field != "tid" {
			fmt.Fprintf(&head, "Content-Transfer-Encoding: binary\r\nContent-Range: 0-%d/%d\r\n", n-1, n)
		}
		fmt.Fprintf(&head, "Content-Length: %d\r\n\r\n", n)
	}
	if f.TID != "" {
		kind := "text/plain"
		if u.Rust {
			kind += "; charset=utf-8"
		}
		part("tid", "", kind, len(f.TID))
		head.WriteString(f.TID + "\r\n")
	}
	if f.Thumb != nil {
		part("Thumbnail", `; filename="`+thumbName+`"`, "image/jpeg", len(f.Thumb))
		head.Write(f.Thumb)
		head.WriteString("\r\n")
	}
	part("File", `; filename="`+name+`"`, f.Type, len(f.Body))
	end := "\r\n--" + boundary + "--\r\n"
	if f.Unended {
		end = "\r\n"
	}
	size := -1 // rcsjta sends its form in chunks
	if u.Rust {
		size = head.Len() + len(f.Body) + len(end)
	}
	fields := "Content-Type: multipart/form-data; boundary=" + boundary + "\r\n"
	if authorization != "" {
		fields += "Authorization: " + authorization + "\r\n"
	}
	res, err := u.exchange(ctx, "POST", u.URL, fields, size, func(w io.Writer) error {
		if _, err := w.Write(head.Bytes()); err != nil {
			return err
		}
		if f.CutAt > 0 {
			if _, err := w.Write(f.Body[:f.CutAt]); err != nil {
				return err
			}
			return errUploadCut
		}
		if _, err := w.Write(f.Body); err != nil {
			return err
		}
		_, err := io.WriteString(w, end)
		return err
	})
	if err != nil {
		return "", err
	}
	if res.status != 200 {
		return "", &UploadRefused{res.status, res.body}
	}
	return res.body, nil
}

var (
	resumeRange = regexp.MustCompile(`<file-resume-info>\s*<file-range start="(\d+)" end="(\d+)"(?:></file-range>|\s*/>)\s*<data url="([^"]+)"`)
	// strictRange is what rust-rcs-client reads: without end tags of their own, it loses what follows.
	strictRange = regexp.MustCompile(`<file-resume-info>\s*<file-range start="(\d+)" end="(\d+)"></file-range>\s*<data url="([^"]+)"></data>`)
)

// Resume goes on with an upload that was cut off, or begins it anew where the server knows nothing of it. from is where it went on.
func (u *Uploader) Resume(ctx context.Context, f UploadFile) (document string, from int, err error) {
	info, challenge, err := u.info(ctx, f.TID, "get_upload_info", nil)
	if err != nil {
		return "", 0, err
	}
	if info.status != 200 {
		document, err = u.Upload(ctx, f)
		return document, 0, err
	}
	form := resumeRange
	if u.Rust {
		form = strictRange
	}
	m := form.FindStringSubmatch(info.body)
	if m == nil {
		return "", 0, fmt.Errorf("resume info can't be read: %s", info.body)
	}
	start, _ := strconv.Atoi(m[1])
	end, _ := strconv.Atoi(m[2])
	if end-start < len(f.Body)-1 {
		from = end + 1
		unit := "bytes "
		if u.Rust {
			from, unit = end, ""
		}
		fields := fmt.Sprintf("Content-Type: %s\r\nContent-Range: %s%d-%d/%d\r\n", f.Type, unit, from, len(f.Body)-1, len(f.Body))
		address := strings.ReplaceAll(m[3], "&amp;", "&")
		if authorization := u.answer(challenge, "PUT", address); authorization != "" {
			fields += "Authorization: " + authorization + "\r\n"
		}
		res, err := u.exchange(ctx, "PUT", address, fields, len(f.Body)-from, func(w io.Writer) error {
			if f.CutAt > from {
				_, err := w.Write(f.Body[from:f.CutAt])
				return errors.Join(err, errUploadCut)
			}
			_, err := w.Write(f.Body[from:])
			return err
		})
		if err != nil {
			return "", from, err
		}
		if res.status != 200 {
			return "", from, &UploadRefused{res.status, res.body}
		}
	} else {
		from = len(f.Body)
	}
	info, _, err = u.info(ctx, f.TID, "get_download_info", challenge)
	if err == nil && info.status != 200 {
		err = &UploadRefused{info.status, info.body}
	}
	return info.body, from, err
}

// info asks how a transfer stands; the challenge to a first request is answered by a second one, and kept for those that follow.
func (u *Uploader) info(ctx context.Context, tid, what string, challenge http.Header) (res uploadAnswer, used http.Header, err error) {
	address := u.URL + "?tid=" + tid + "&" + what
	for {
		fields, known := "", challenge != nil
		if known {
			fields = "Authorization: " + u.answer(challenge, "GET", address) + "\r\n"
		}
		res, err = u.exchange(ctx, "GET", address, fields, 0, nil)
		if err != nil || res.status != 401 || known || u.answer(res.header, "GET", address) == "" {
			return res, challenge, err
		}
		challenge = res.header
	}
}

type uploadAnswer struct {
	status int
	header http.Header
	body   string
}

// exchange sends one request on a connection of its own. size -1: the body goes in chunks of 10 KiB. A body that ends by errUploadCut closes the connection.
func (u *Uploader) exchange(ctx context.Context, method, address, fields string, size int, body func(io.Writer) error) (res uploadAnswer, err error) {
	at, err := url.Parse(address)
	if err != nil {
		return res, err
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", at.Host)
	if err != nil {
		return res, err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { _ = c.Close() })()
	for _, f := range u.Fields {
		fields += f + "\r\n"
	}
	switch {
	case size < 0:
		fields += "Transfer-Encoding: chunked\r\n"
	case body != nil:
		fields += fmt.Sprintf("Content-Length: %d\r\n", size)
	}
	if _, err = fmt.Fprintf(c, "%s %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: IM-client/OMA1.0\r\n%s\r\n", method, at.RequestURI(), at.Host, fields); err != nil {
		return res, err
	}
	if body != nil {
		var w io.Writer = c
		if size < 0 {
			w = &chunker{c}
		}
		failed := body(w)
		if failed == nil && size < 0 {
			_, failed = io.WriteString(c, "0\r\n\r\n")
		}
		if errors.Is(failed, errUploadCut) {
			return res, failed
		} // a server that has heard enough has answered
	}
	got, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: method})
	if err != nil {
		return res, err
	}
	defer got.Body.Close()
	b, err := io.ReadAll(got.Body)
	return uploadAnswer{got.StatusCode, got.Header, string(b)}, err
}

// chunker writes chunks as rcsjta does.
type chunker struct{ w io.Writer }

func (c *chunker) Write(b []byte) (int, error) {
	for n := 0; n < len(b); {
		part := b[n:min(n+(10<<10), len(b))]
		if _, err := fmt.Fprintf(c.w, "%x\r\n%s\r\n", len(part), part); err != nil {
			return n, err
		}
		n += len(part)
	}
	return len(b), nil
}
