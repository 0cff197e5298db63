package gateway

import (
	"context"

	"latchkey"
	"latchkey/conversation"
	"latchkey/files"
	"latchkey/httpapi"
	"latchkey/internal/stranger"
)

// openFiles makes the vaults of files: of those between two, and of what inviters' phones upload. What the former tells, it tells the hall, which
// is there before anything runs.
func (g *Gateway) openFiles() (err error) {
	c := g.config
	opt := files.Options{
		MaxSize: c.FileMaxSize, Quota: c.FileQuota, Lifetime: c.FileLifetime, Peers: stranger.Peers(c.FilePeers), PublicURL: g.URL, Log: g.log,
	}
	if g.scanner = c.FileScan.Scanner(); g.scanner != nil {
		opt.Scanner = g.scanner
	}
	if c.FileUpload != NoUploads {
		place, err := g.openPlace(uploadsFolder)
		if err != nil {
			return err
		}
		g.uploads = files.Open(place, g.db.Deposits(), opt)
	}
	opt.Arrived, opt.Own = func(f latchkey.StoredFile) { g.hall.FileArrived(f) }, g.ownFile
	place, err := g.openPlace("")
	if err != nil {
		return err
	}
	g.files = files.Open(place, g.db, opt)
	vaults := []*files.Vault{g.files}
	if g.uploads != nil {
		vaults = append(vaults, g.uploads)
	}
	g.fileMetrics = newFileMetrics(vaults...)
	return nil
}

// talks are conversations with all that belongs to them: a relation's files end with it.
type talks struct {
	hall  *conversation.Hall
	files *files.Vault
}

// Open tells the guest of a relation.
func (t talks) Open(ctx context.Context, rel latchkey.Relation) error { return t.hall.Open(ctx, rel) }

// Close ends the conversation, so that nothing comes or goes any more, and erases its files.
func (t talks) Close(ctx context.Context, rel latchkey.Relation, cause latchkey.Cause) error {
	if err := t.hall.Close(ctx, rel, cause); err != nil {
		return err
	}
	return t.files.Farewell(ctx, rel.ID)
}

// shelf is the vault as the facade needs it.
type shelf struct{ *files.Vault }

// Create begins a file.
func (s shelf) Create(ctx context.Context, f latchkey.StoredFile) (httpapi.Upload, latchkey.StoredFile, bool, error) {
	w, stored, repeated, err := s.Vault.Create(ctx, f)
	if w == nil { // an interface that holds a nil pointer is not nil
		return nil, stored, repeated, err
	}
	return w, stored, repeated, err
}

// Resume goes on with a file.
func (s shelf) Resume(ctx context.Context, id latchkey.FileID) (httpapi.Upload, error) {
	w, err := s.Vault.Resume(ctx, id)
	if err != nil {
		return nil, err
	}
	return w, nil
}
