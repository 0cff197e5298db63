package files

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"latchkey"
)

// S3Options say where a bucket is, and who we are there.
type S3Options struct {
	Endpoint string // host, or host:port
	Plain    bool   // HTTP in place of HTTPS
	Region   string // "": what the bucket says
	Bucket   string
	Prefix   string // of all keys; "" or with a final slash
	KeyID    string // "": those of the environment, of ~/.aws, or of the machine (IAM)
	Secret   latchkey.Secret
	// PartDir is the directory where the part of a file lies that is not in the bucket yet; its file has no name. "": the system's.
	PartDir string
	CA      *x509.CertPool // who vouches for the store; nil: those of the system
}

// S3 keeps files in a bucket of an S3-compatible store, as objects under their ids. A file comes as a multipart upload; beside one that has not
// come to its end lies an object with what is too little for a part, and with all that a resume needs to know, on whichever node.
type S3 struct {
	core      *minio.Core
	opt       S3Options
	transport *http.Transport
}

// NewS3 makes a place of a bucket. Nothing is asked of it yet.
func NewS3(opt S3Options) (*S3, error) {
	creds := credentials.NewStaticV4(opt.KeyID, opt.Secret.Reveal(), "")
	if opt.KeyID == "" {
		creds = credentials.NewChainCredentials([]credentials.Provider{&credentials.EnvAWS{}, &credentials.FileAWSCredentials{}, &credentials.IAM{}})
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost, transport.DisableCompression = 16, true
	transport.TLSClientConfig = &tls.Config{RootCAs: opt.CA, MinVersion: tls.VersionTLS12}
	core, err := minio.NewCore(opt.Endpoint, &minio.Options{Creds: creds, Secure: !opt.Plain, Region: opt.Region, MaxRetries: 3, Transport: transport})
	if err != nil {
		return nil, err
	}
	core.SetAppInfo("Latchkey", "1")
	return &S3{core, opt, transport}, nil
}

func (s *S3) close() { s.transport.CloseIdleConnections() }

func (s *S3) key(id latchkey.FileID) string { return s.opt.Prefix + string(id) }

// partSuffix is behind the key of what lies beside a file that has not come to its end.
const partSuffix = ".part"

func (s *S3) partKey(id latchkey.FileID) string { return s.key(id) + partSuffix }

// failed words an error of the store: what isn't there is fs.ErrNotExist; all else is not the sender's fault.
func failed(what string, err error) error {
	if err == nil {
		return nil
	}
	res := minio.ToErrorResponse(err)
	err = fmt.Errorf("file store: %s: %w", what, err)
	switch res.Code {
	case minio.NoSuchKey, minio.NoSuchUpload, "NotFound":
		return errors.Join(fs.ErrNotExist, err)
	case "XMinioStorageFull", "QuotaExceeded", "XMinioAdminBucketQuotaExceeded", "InsufficientCapacity":
		return latchkey.Wrap(latchkey.KindNoSpace, err, "")
	}
	return latchkey.Wrap(latchkey.KindUnavailable, err, "files can't be kept at the moment; try again later")
}

// gone reports whether an error says that something isn't there.
func gone(err error) bool { return errors.Is(err, fs.ErrNotExist) }

// ErrRefused says that a store answers, and does not let us keep files: an operator must do something.
var ErrRefused = errors.New("refused")

// Try writes, reads and deletes a small object. Its error is for an operator.
func (s *S3) Try(ctx context.Context) error {
	key := s.opt.Prefix + "try-" + latchkey.NewToken()
	const word = "latchkey"
	if _, err := s.core.PutObject(ctx, s.opt.Bucket, key, strings.NewReader(word), int64(len(word)), "", "", minio.PutObjectOptions{}); err != nil {
		return s.explain("write", err)
	}
	body, _, _, err := s.core.GetObject(ctx, s.opt.Bucket, key, minio.GetObjectOptions{})
	if err == nil {
		var b []byte
		b, err = io.ReadAll(io.LimitReader(body, 64))
		_ = body.Close()
		if err == nil && string(b) != word {
			err = fmt.Errorf("%q came back in place of %q", b, word)
		}
	}
	if err != nil {
		return s.explain("read", err)
	}
	if err := s.core.RemoveObject(ctx, s.opt.Bucket, key, minio.RemoveObjectOptions{}); err != nil {
		return s.explain("delete", err)
	}
	if _, err := s.uploads(ctx, s.opt.Prefix); err != nil {
		return s.explain("list the uploads", err)
	}
	return nil
}

// explain says in words what an operator can do about an error.
func (s *S3) explain(what string, err error) error {
	advice := ""
	switch res := minio.ToErrorResponse(err); res.Code {
	case minio.NoSuchBucket:
		advice = "there is no such bucket; create it, or name another"
	case minio.AccessDenied:
		advice = "the key lacks a right; it needs s3:PutObject, s3:GetObject, s3:DeleteObject, s3:ListBucket, s3:ListBucketMultipartUploads, s3:ListMultipartUploadParts and s3:AbortMultipartUpload"
	case minio.InvalidAccessKeyID, minio.SignatureDoesNotMatch:
		advice = "the store does not know the key, or its secret is another"
	case "AuthorizationHeaderMalformed", minio.InvalidRegion:
		advice = "the bucket is in another region; name it by region="
	case "RequestTimeTooSkewed":
		advice = "its clock and ours differ"
	default:
		if res.StatusCode < 400 || res.StatusCode >= 500 {
			return fmt.Errorf("%s, bucket %s, %s: %w", s.opt.Endpoint, s.opt.Bucket, what, err)
		}
		advice = "status " + strconv.Itoa(res.StatusCode)
	}
	return fmt.Errorf("%s, bucket %s, %s: %w: %w; %s", s.opt.Endpoint, s.opt.Bucket, what, ErrRefused, err, advice)
}

// upload is a multipart upload that is open.
type upload struct{ key, id string }

// uploads lists the open uploads of all keys that begin so.
func (s *S3) uploads(ctx context.Context, prefix string) (all []upload, err error) {
	key, id := "", ""
	for {
		page, err := s.core.ListMultipartUploads(ctx, s.opt.Bucket, prefix, key, id, "", 1000)
		if err != nil {
			return nil, err
		}
		for _, u := range page.Uploads {
			all = append(all, upload{u.Key, u.UploadID})
		}
		if !page.IsTruncated || page.NextKeyMarker == key && page.NextUploadIDMarker == id {
			return all, nil
		}
		key, id = page.NextKeyMarker, page.NextUploadIDMarker
	}
}

// abortUploads ends the open uploads of a key. Their parts are gone then.
func (s *S3) abortUploads(ctx context.Context, key string) error {
	all, err := s.uploads(ctx, key)
	if err != nil {
		return failed("list uploads", err)
	}
	for _, u := range all {
		if u.key != key {
			continue
		}
		if err := failed("abort upload", s.core.AbortMultipartUpload(ctx, s.opt.Bucket, u.key, u.id)); err != nil && !gone(err) {
			return err
		}
	}
	return nil
}

func (s *S3) remove(ctx context.Context, key string) error {
	if err := failed("delete", s.core.RemoveObject(ctx, s.opt.Bucket, key, minio.RemoveObjectOptions{})); err != nil && !gone(err) {
		return err
	}
	return nil
}

func (s *S3) erase(ctx context.Context, id latchkey.FileID) error {
	// The upload first: while it is open, it could still become the object.
	return errors.Join(s.abortUploads(ctx, s.key(id)), s.remove(ctx, s.key(id)), s.remove(ctx, s.partKey(id)))
}

func (s *S3) each(ctx context.Context, look func(latchkey.FileID)) error {
	seen := map[latchkey.FileID]bool{}
	tell := func(key string) {
		id := latchkey.FileID(strings.TrimSuffix(strings.TrimPrefix(key, s.opt.Prefix), partSuffix))
		if isID(string(id)) && !seen[id] {
			seen[id] = true
			look(id)
		}
	}
	for o := range s.core.ListObjectsIter(ctx, s.opt.Bucket, minio.ListObjectsOptions{Prefix: s.opt.Prefix}) {
		if o.Err != nil {
			return failed("list", o.Err)
		}
		tell(o.Key)
	}
	open, err := s.uploads(ctx, s.opt.Prefix)
	for _, u := range open {
		tell(u.key)
	}
	return failed("list uploads", err)
}

func (s *S3) size(ctx context.Context, id latchkey.FileID) (int64, error) {
	whole, err := s.core.StatObject(ctx, s.opt.Bucket, s.key(id), minio.StatObjectOptions{})
	if err == nil {
		return whole.Size, nil
	}
	if err = failed("look", err); !gone(err) {
		return 0, err
	}
	part, err := s.core.StatObject(ctx, s.opt.Bucket, s.partKey(id), minio.StatObjectOptions{})
	if err = failed("look", err); gone(err) {
		return 0, nil
	}
	n, _ := marks(part)
	return n, err
}

func (s *S3) open(ctx context.Context, id latchkey.FileID) (io.ReadSeekCloser, error) {
	info, err := s.core.StatObject(ctx, s.opt.Bucket, s.key(id), minio.StatObjectOptions{})
	if err != nil {
		return nil, failed("look", err)
	}
	return &s3Reader{s: s, key: s.key(id), etag: info.ETag, size: info.Size}, nil
}

// s3Reader reads an object from any place on. It asks for bytes when they are read.
type s3Reader struct {
	s         *S3
	key, etag string
	size, at  int64
	body      io.ReadCloser
	cancel    context.CancelFunc
}

// Seek says where the next Read begins.
func (r *s3Reader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += r.at
	case io.SeekEnd:
		offset += r.size
	}
	if offset < 0 {
		return 0, os.ErrInvalid
	}
	if offset != r.at {
		_ = r.Close()
		r.at = offset
	}
	return offset, nil
}

// readQuiet is how long the store may be silent within an object.
const readQuiet = 30 * time.Second

// Read reads on. A connection that breaks is made anew once at each place.
func (r *s3Reader) Read(b []byte) (int, error) {
	if r.at >= r.size || len(b) == 0 {
		return 0, io.EOF
	}
	for again := false; ; again = true {
		n, err := r.read(b)
		r.at += int64(n)
		if err != nil {
			_ = r.Close()
		}
		if n > 0 {
			return n, nil // what is wrong shows at the next Read
		}
		if err == nil {
			continue
		}
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err = failed("read", err); again || gone(err) {
			return 0, err
		}
	}
}

func (r *s3Reader) read(b []byte) (int, error) {
	if r.body == nil {
		ctx, cancel := context.WithCancel(context.Background())
		var opt minio.GetObjectOptions
		if err := errors.Join(opt.SetRange(r.at, r.size-1), opt.SetMatchETag(r.etag)); err != nil {
			cancel()
			return 0, err
		}
		quiet := time.AfterFunc(readQuiet, cancel)
		body, _, _, err := r.s.core.GetObject(ctx, r.s.opt.Bucket, r.key, opt)
		quiet.Stop()
		if err != nil {
			cancel()
			return 0, err
		}
		r.body, r.cancel = body, cancel
	}
	quiet := time.AfterFunc(readQuiet, r.cancel)
	defer quiet.Stop()
	return r.body.Read(b)
}

// Close ends what is being read.
func (r *s3Reader) Close() error {
	if r.body == nil {
		return nil
	}
	r.cancel()
	body := r.body
	r.body = nil
	_ = body.Close() // it was cut off by us
	return nil
}
