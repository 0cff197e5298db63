package gateway

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"latchkey"
	"latchkey/files"
)

// FileBucket is a bucket of an S3-compatible store.
type FileBucket struct {
	Endpoint string // http:// or https:// URL without path
	Region   string // "": what the store says
	Bucket   string
	Prefix   string // of all keys, with a final slash; or ""
	KeyID    string // "": those of the environment or of the machine
	Secret   latchkey.Secret
	CA       string // path of a PEM file; "": the system's
}

// Place is a folder of the bucket as the vault takes it, "" for what lies at the prefix. parts is a directory for what is on its way there.
func (b *FileBucket) Place(parts, folder string) (*files.S3, error) {
	u, err := url.Parse(b.Endpoint)
	if err != nil {
		return nil, err
	}
	var ca *x509.CertPool
	if b.CA != "" {
		if ca, err = certPool(b.CA); err != nil {
			return nil, err
		}
	}
	prefix := b.Prefix
	if folder != "" {
		prefix += folder + "/"
	}
	return files.NewS3(files.S3Options{
		Endpoint: u.Host, Plain: u.Scheme == "http", Region: b.Region, Bucket: b.Bucket, Prefix: prefix, KeyID: b.KeyID, Secret: b.Secret, CA: ca, PartDir: parts,
	})
}

// firstWord is how long the start waits for the store.
const firstWord = 5 * time.Second

// openPlace makes a place for files' bytes: folder of the store, "" for its top. A store that does not answer may answer later; one that refuses us won't.
func (g *Gateway) openPlace(folder string) (files.Place, error) {
	b := g.config.FileBucket
	if b == nil {
		return files.NewDisk(filepath.Join(g.config.FileStore, folder))
	}
	place, err := b.Place(filepath.Dir(g.config.Data), folder)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(g.ctx, firstWord)
	defer cancel()
	switch err := place.Try(ctx); {
	case errors.Is(err, files.ErrRefused):
		return nil, err
	case err != nil:
		g.log.Warn("file store does not answer; no file comes or goes until it does", latchkey.LogError, err)
	}
	return place, nil
}

// bucketName is what S3 takes as one, and older stores did.
var bucketName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]$`)

// setFileStore reads a directory, or s3://key-id:secret@bucket/prefix?endpoint=…, by hand, as credentials says why.
func setFileStore(c *Config, v string) error {
	rest, ok := strings.CutPrefix(v, "s3://")
	if !ok {
		if scheme, _, ok := strings.Cut(v, "://"); ok {
			return fmt.Errorf("%.20q is no scheme that files can be kept by; there is s3", scheme)
		}
		c.FileStore = v
		return nil
	}
	rest, settings := mailSettings(rest)
	user, secret, place, err := credentials(rest)
	if err != nil {
		return err
	}
	if (user == "") != (secret == "") || user == "" && place != rest {
		return errors.New("must have both the id and the secret of a key before the bucket, or neither")
	}
	b := FileBucket{KeyID: user, Secret: secret}
	b.Bucket, b.Prefix, _ = strings.Cut(place, "/")
	if b.Prefix = strings.Trim(b.Prefix, "/"); b.Prefix != "" {
		b.Prefix += "/"
	}
	if !bucketName.MatchString(b.Bucket) {
		return fmt.Errorf("%q is no name of a bucket", b.Bucket)
	}
	c.FileBucket = &b
	return b.settings(settings)
}

func (b *FileBucket) settings(v string) error {
	values, err := url.ParseQuery(v)
	if err != nil {
		return errors.New("has settings that can't be read")
	}
	for name, all := range values {
		switch last := all[len(all)-1]; name {
		case "endpoint":
			b.Endpoint = strings.TrimRight(last, "/")
		case "region":
			b.Region = last
		case "ca":
			b.CA = last
			if _, err := certPool(last); err != nil {
				return err
			}
		default:
			return fmt.Errorf("%s: is not a setting; there are endpoint, region and ca", name)
		}
	}
	if b.Endpoint == "" {
		b.Endpoint = "https://s3.amazonaws.com"
	}
	if u, err := url.Parse(b.Endpoint); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.Path != "" || u.RawQuery != "" || u.User != nil {
		return fmt.Errorf("endpoint: %q is not an http:// or https:// URL with a host alone", b.Endpoint)
	}
	return nil
}
