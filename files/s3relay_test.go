package files_test

import (
	"bytes"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"latchkey"
	"latchkey/files"
	"latchkey/imstest"
)

// cutting ends a body early.
type cutting struct {
	io.ReadCloser
	rest int
}

func (c *cutting) Read(b []byte) (int, error) {
	if c.rest == 0 {
		return 0, errors.New("cut")
	}
	n, err := c.ReadCloser.Read(b[:min(len(b), c.rest)])
	c.rest -= n
	return n, err
}

// R33: a bucket behind TLS with an authority of the operator's own. A connection that breaks within a file is made anew there; an object that has
// become another one meanwhile is an error.
func TestBucketOverTLSReadsOnWhereAConnectionBroke(t *testing.T) {
	b := imstest.NewBucket(t)
	store, err := url.Parse("http://" + b.Addr)
	if err != nil {
		t.Fatal(err)
	}
	var cut atomic.Int64  // bodies are cut after so many bytes; 0: not
	var gets atomic.Int64 // of objects
	silent := log.New(io.Discard, "", 0)
	relay := httptest.NewUnstartedServer(&httputil.ReverseProxy{
		ErrorLog: silent, // of cuts
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(store)
			r.Out.Host = r.In.Host // it is signed
		},
		ModifyResponse: func(res *http.Response) error {
			if res.Request.Method == http.MethodGet {
				gets.Add(1)
				if n := cut.Load(); n > 0 {
					res.Body = &cutting{res.Body, int(n)}
				}
			}
			return nil
		},
	})
	t.Cleanup(relay.Close)
	relay.Config.ErrorLog = silent // of strangers
	relay.StartTLS()
	opt := files.S3Options{Endpoint: relay.Listener.Addr().String(), Region: "us-east-1", Bucket: b.Name, Prefix: ours, KeyID: b.KeyID, Secret: latchkey.Secret(b.Secret), PartDir: t.TempDir()}
	strange, err := files.NewS3(opt)
	if err != nil {
		t.Fatal(err)
	}
	if err := strange.Try(t.Context()); !errors.As(err, new(x509.UnknownAuthorityError)) {
		t.Errorf("Try without the authority = %v", err)
	}
	opt.CA = x509.NewCertPool()
	opt.CA.AddCert(relay.Certificate())
	place, err := files.NewS3(opt)
	if err != nil {
		t.Fatal(err)
	}
	c := openIn(t, b, files.Options{})
	c.Vault = files.Open(place, c.db, files.Options{})
	t.Cleanup(func() { _ = c.Close() })
	content := noise(9 * mib)
	f := c.put(c.file(latchkey.ToGuest, len(content)), content)
	gets.Store(0)
	cut.Store(4 * mib)
	if got := c.content(f); !bytes.Equal(got, content) || gets.Load() != 3 {
		t.Errorf("%d bytes came by %d requests, want all by 3", len(got), gets.Load())
	}
	r, err := c.Open(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := io.CopyN(io.Discard, r, 100); err != nil {
		t.Fatal(err)
	}
	cut.Store(0)
	other, err := minio.New(b.Addr, &minio.Options{Creds: credentials.NewStaticV4(b.KeyID, b.Secret, ""), Region: "us-east-1"})
	if err == nil {
		_, err = other.PutObject(t.Context(), b.Name, ours+string(f.ID), bytes.NewReader(make([]byte, len(content))), int64(len(content)), minio.PutObjectOptions{})
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Seek(5*mib, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, r); err == nil || n > 0 {
		t.Errorf("%d bytes of another object were taken for the file's, %v", n, err)
	}
	b.Stop()
	if _, err := r.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Read(make([]byte, 1)); !latchkey.Is(err, latchkey.KindUnavailable) {
		t.Errorf("Read without the store = %v", err)
	}
}

// F53, X3: the store puts the parts together, and its answer is lost: the repeat finds no upload, and the file is here all the same.
func TestBucketWhoseLastAnswerIsLostHasTheFile(t *testing.T) {
	b := imstest.NewBucket(t)
	store, err := url.Parse("http://" + b.Addr)
	if err != nil {
		t.Fatal(err)
	}
	var lost atomic.Int64
	relay := httptest.NewServer(&httputil.ReverseProxy{
		ErrorLog: log.New(io.Discard, "", 0),
		Rewrite:  func(r *httputil.ProxyRequest) { r.SetURL(store); r.Out.Host = r.In.Host },
		ModifyResponse: func(res *http.Response) error {
			if res.Request.Method != http.MethodPost || !res.Request.URL.Query().Has("uploadId") {
				return nil
			}
			if lost.Add(1) == 1 {
				return errors.New("lost")
			}
			const gone = `<Error><Code>NoSuchUpload</Code><Message>The specified multipart upload does not exist.</Message></Error>` // as stores say that forget uploads at their end
			res.StatusCode, res.Body, res.ContentLength = http.StatusNotFound, io.NopCloser(strings.NewReader(gone)), int64(len(gone))
			res.Header.Set("Content-Length", strconv.Itoa(len(gone)))
			return nil
		},
	})
	t.Cleanup(relay.Close)
	place, err := files.NewS3(files.S3Options{Endpoint: relay.Listener.Addr().String(), Plain: true, Region: "us-east-1", Bucket: b.Name, Prefix: ours, KeyID: b.KeyID, Secret: latchkey.Secret(b.Secret), PartDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	c := openIn(t, b, files.Options{})
	c.Vault = files.Open(place, c.db, files.Options{})
	t.Cleanup(func() { _ = c.Close() })
	content := noise(9 * mib)
	if got := c.content(c.put(c.file(latchkey.ToGuest, len(content)), content)); !bytes.Equal(got, content) || lost.Load() != 2 {
		t.Errorf("%d bytes are here after %d answers, want all after a repeat", len(got), lost.Load())
	}
}
