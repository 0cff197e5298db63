package files

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/minio/minio-go/v7"

	"latchkey"
)

// A store takes parts of 5 MiB and more, apart from the last, and 10,000 of them.
const (
	leastPart = 8 << 20
	mostParts = 9_000
)

// partTime is how long one part may take; a store that takes fewer than 64 KiB a second is as good as down.
const partTime = 2 * time.Minute

// markEvery is after how many bytes a file's marks are written though nobody asked, so that a crash costs no more than that.
const markEvery = 32 << 20

// partOf is how many bytes of a file go in one part.
func partOf(size int64) int64 {
	const mib = 1 << 20
	return max(leastPart, (size/mostParts+mib-1)/mib*mib)
}

// s3Upload is a file that is being written. What is not in the bucket yet lies in a file without a name: a store wants to know how many bytes a
// part has, and to read it again where a connection breaks.
type s3Upload struct {
	s     *S3
	id    latchkey.FileID
	part  int64 // bytes of a part
	taken <-chan struct{}

	upload string // id of the multipart upload; "" until the first part
	parts  []s3Part
	sent   int64    // bytes in parts
	rest   *os.File // what is behind them; nil until it is needed
	n      int64    // bytes in rest
	marked bool     // there may be an object of marks
	since  int64    // bytes since the marks were written
	whole  int64    // bytes of the object, where it has come to its end already; else -1
}

// s3Part is one part that the store has.
type s3Part struct {
	ETag string `json:"etag"`
	Size int64  `json:"size"`
}

// s3Marks is what a resume needs to know. It stands behind the rest in the object beside the file.
type s3Marks struct {
	Upload string   `json:"upload,omitempty"`
	Parts  []s3Part `json:"parts,omitempty"`
	SHA1   []byte   `json:"sha1"` // state of the hash
}

// Names of an object's own metadata: how many bytes of the file there are, and how many of them in this object.
const (
	markOffset = "Offset"
	markRest   = "Rest"
)

func marks(o minio.ObjectInfo) (offset, rest int64) {
	offset, _ = strconv.ParseInt(o.UserMetadata[markOffset], 10, 64)
	rest, _ = strconv.ParseInt(o.UserMetadata[markRest], 10, 64)
	return offset, rest
}

func (s *S3) create(f latchkey.StoredFile, taken <-chan struct{}) (sink, error) {
	return &s3Upload{s: s, id: f.ID, part: partOf(f.Size), taken: taken, whole: -1}, nil
}

func (s *S3) resume(ctx context.Context, f latchkey.StoredFile, sum *digest, taken <-chan struct{}) (sink, int64, error) {
	o := &s3Upload{s: s, id: f.ID, part: partOf(f.Size), taken: taken, whole: -1}
	n, err := o.resume(ctx, sum)
	if err != nil {
		o.close()
		return nil, 0, err
	}
	return o, n, nil
}

func (o *s3Upload) resume(ctx context.Context, sum *digest) (int64, error) {
	switch r, err := o.s.open(ctx, o.id); { // its last moment was a crash, or a scanner that could not look
	case err == nil:
		defer r.Close()
		o.whole, err = io.Copy(sum, r)
		return o.whole, err
	case !gone(err):
		return 0, err
	}
	n, err := o.readMarks(ctx, sum)
	if gone(err) { // nothing to go on with: what is there is of no use
		sum.Reset()
		o.upload, o.parts, o.sent, o.n = "", nil, 0, 0
		return 0, o.s.abortUploads(ctx, o.s.key(o.id))
	}
	return n, err
}

func (o *s3Upload) readMarks(ctx context.Context, sum *digest) (int64, error) {
	body, info, _, err := o.s.core.GetObject(ctx, o.s.opt.Bucket, o.s.partKey(o.id), minio.GetObjectOptions{})
	if err != nil {
		return 0, failed("read", err)
	}
	defer body.Close()
	o.marked = true
	offset, rest := marks(info)
	if err := o.room(); err != nil {
		return 0, err
	}
	if _, err := io.Copy(io.NewOffsetWriter(o.rest, 0), io.LimitReader(body, rest)); err != nil {
		return 0, failed("read", err)
	}
	var m s3Marks
	if err := json.NewDecoder(body).Decode(&m); err != nil {
		return 0, failed("read", err)
	}
	o.upload, o.parts, o.n = m.Upload, m.Parts, rest
	for _, p := range m.Parts {
		o.sent += p.Size
	}
	if o.sent+o.n != offset {
		return 0, fmt.Errorf("file store: marks of %s say %d and %d bytes", o.id, o.sent+o.n, offset)
	}
	if o.upload != "" {
		if _, err := o.s.core.ListObjectParts(ctx, o.s.opt.Bucket, o.s.key(o.id), o.upload, 0, 1); err != nil {
			return 0, failed("look", err)
		}
	}
	return offset, sum.restore(m.SHA1)
}

// room makes the file for what is not in the bucket yet.
func (o *s3Upload) room() (err error) {
	if o.rest != nil {
		return nil
	}
	if o.rest, err = os.CreateTemp(o.s.opt.PartDir, "latchkey-part-*"); err != nil {
		return diskError(err)
	}
	return os.Remove(o.rest.Name()) // it is gone with us
}

// within is a context of at most that time, which also ends when the writer must let go.
func (o *s3Upload) within(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, d)
	go func() { // ends with ctx
		select {
		case <-o.taken:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// Write keeps bytes, and sends parts away. One that could not be sent stays, for the next Write or a resume.
func (o *s3Upload) Write(b []byte) (int, error) {
	if o.whole >= 0 {
		return 0, latchkey.Errorf(latchkey.KindConflict, "the file is complete")
	}
	if err := o.room(); err != nil {
		return 0, err
	}
	n, err := o.rest.WriteAt(b, o.n)
	if o.n += int64(n); err != nil {
		return n, diskError(err)
	}
	if o.n < o.part {
		return n, nil
	}
	ctx, cancel := o.within(context.Background(), partTime)
	defer cancel()
	for o.n >= o.part && err == nil {
		err = o.send(ctx, o.part)
	}
	return n, err
}

// send makes a part of the first bytes of the rest.
func (o *s3Upload) send(ctx context.Context, size int64) error {
	if o.upload == "" {
		id, err := o.s.core.NewMultipartUpload(ctx, o.s.opt.Bucket, o.s.key(o.id), minio.PutObjectOptions{})
		if err != nil {
			return failed("begin upload", err)
		}
		o.upload = id
	}
	p, err := o.s.core.PutObjectPart(ctx, o.s.opt.Bucket, o.s.key(o.id), o.upload, len(o.parts)+1, io.NewSectionReader(o.rest, 0, size), size, minio.PutObjectPartOptions{})
	if err != nil {
		return failed("write part", err)
	}
	over := make([]byte, o.n-size) // what one Write had more
	if _, err := o.rest.ReadAt(over, size); err != nil {
		return err
	}
	if _, err := o.rest.WriteAt(over, 0); err != nil {
		return diskError(err)
	}
	o.parts = append(o.parts, s3Part{p.ETag, size})
	o.sent, o.since, o.n = o.sent+size, o.since+size, o.n-size
	return nil
}

// mark writes the marks down from time to time. That it can't is no matter as long as parts go through.
func (o *s3Upload) mark(sum *digest) {
	if o.since >= markEvery {
		ctx, cancel := o.within(context.Background(), partTime)
		defer cancel()
		o.since = 0
		_ = o.writeMarks(ctx, sum)
	}
}

func (o *s3Upload) restart(ctx context.Context) error {
	err := o.s.erase(ctx, o.id)
	if err == nil {
		o.upload, o.parts, o.sent, o.n, o.since, o.marked, o.whole = "", nil, 0, 0, 0, false, -1
	}
	return err
}

func (o *s3Upload) keep(ctx context.Context, sum *digest) error {
	if o.whole >= 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, partTime)
	defer cancel()
	return o.writeMarks(ctx, sum)
}

// writeMarks writes down how far the file has come, with what is in no part.
func (o *s3Upload) writeMarks(ctx context.Context, sum *digest) error {
	m := s3Marks{Upload: o.upload, Parts: o.parts}
	var err error
	if m.SHA1, err = sum.state(); err != nil {
		return err
	}
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if err := o.room(); err != nil {
		return err
	}
	if _, err := o.rest.WriteAt(text, o.n); err != nil { // later bytes overwrite it
		return diskError(err)
	}
	size := o.n + int64(len(text))
	_, err = o.s.core.PutObject(ctx, o.s.opt.Bucket, o.s.partKey(o.id), io.NewSectionReader(o.rest, 0, size), size, "", "", minio.PutObjectOptions{
		UserMetadata: map[string]string{markOffset: strconv.FormatInt(o.sent+o.n, 10), markRest: strconv.FormatInt(o.n, 10)},
	})
	if err == nil {
		o.marked, o.since = true, 0
	}
	return failed("write", err)
}

// finishTime is how long a store may put parts together.
const finishTime = 5 * time.Minute

func (o *s3Upload) finish(ctx context.Context) error {
	ctx, cancel := o.within(ctx, partTime+finishTime)
	defer cancel()
	if err := o.complete(ctx); err != nil {
		return err
	}
	if o.marked { // what is left of them goes with the file
		o.marked = o.s.remove(ctx, o.s.partKey(o.id)) != nil
	}
	return nil
}

func (o *s3Upload) complete(ctx context.Context) error {
	if o.whole >= 0 {
		return nil
	}
	if o.upload == "" {
		if err := o.room(); err != nil {
			return err
		}
		_, err := o.s.core.PutObject(ctx, o.s.opt.Bucket, o.s.key(o.id), io.NewSectionReader(o.rest, 0, o.n), o.n, "", "", minio.PutObjectOptions{})
		return failed("write", err)
	}
	for o.n > 0 {
		if err := o.send(ctx, min(o.n, o.part)); err != nil {
			return err
		}
	}
	all := make([]minio.CompletePart, len(o.parts))
	for i, p := range o.parts {
		all[i] = minio.CompletePart{PartNumber: i + 1, ETag: p.ETag}
	}
	_, err := o.s.core.CompleteMultipartUpload(ctx, o.s.opt.Bucket, o.s.key(o.id), o.upload, all, minio.PutObjectOptions{})
	if err = failed("complete upload", err); gone(err) {
		// A repeat after an answer that was lost: some stores have forgotten the upload by then, and have the file.
		if whole, missing := o.s.core.StatObject(ctx, o.s.opt.Bucket, o.s.key(o.id), minio.StatObjectOptions{}); missing == nil && whole.Size == o.sent {
			return nil
		}
	}
	return err
}

func (o *s3Upload) close() {
	if o.rest != nil {
		_ = o.rest.Close()
	}
}
