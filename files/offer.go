package files

import (
	"context"

	"latchkey"
	"latchkey/cpim"
)

// PublicPath stands between the public URL and a file's key in the address where its inviter fetches it; PreviewPath behind the key names
// the preview.
const (
	PublicPath  = "/rcsgw/file/"
	PreviewPath = "/preview"
)

// Document tells an inviter's phone where to fetch a guest's file (PROTOCOLS B3.13, F52): under an address that nobody can guess, until the file
// expires.
func (v *Vault) Document(ctx context.Context, f latchkey.StoredFile) (contentType string, body []byte, err error) {
	address := v.opt.PublicURL() + PublicPath + f.Key.Reveal()
	doc := cpim.FileTransfer{File: cpim.FileInfo{Size: f.Size, Name: f.Name, ContentType: f.Type, URL: address, Until: f.Expires, Disposition: cpim.Attach}}
	if f.Preview != "" {
		kind, picture, err := v.rows.Preview(ctx, f.ID)
		if err != nil {
			return "", nil, err
		}
		doc.Thumbnail = &cpim.FileInfo{Size: int64(len(picture)), ContentType: kind, URL: address + PreviewPath, Until: f.Expires}
	}
	body, err = doc.XML()
	return cpim.FileTransferType, body, err
}

// Preview is a file's small picture; KindNotFound if there is none.
func (v *Vault) Preview(ctx context.Context, f latchkey.StoredFile) (contentType string, picture []byte, err error) {
	return v.rows.Preview(ctx, f.ID)
}
