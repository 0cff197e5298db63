package gateway

import (
	"context"

	"latchkey"
	"latchkey/conversation"
	"latchkey/files"
	"latchkey/httpapi"
)

// openFiles makes the vault of files. What it tells, it tells the hall, which is there before anything runs.
func (g *Gateway) openFiles() (*files.Vault, error) {
	c := g.config
	opt := files.Options{
		MaxSize: c.FileMaxSize, Quota: c.FileQuota, Lifetime: c.FileLifetime, Peers: files.Peers(c.FilePeers),
		Arrived: func(f latchkey.StoredFile) { g.hall.FileArrived(f) }, PublicURL: g.URL, Log: g.log,
	}
	if c.FileScan != "" {
		opt.Scanner = &files.Clamd{Addr: c.FileScan}
	}
	place, err := g.openPlace()
	if err != nil {
		return nil, err
	}
	return files.Open(place, g.db, opt), nil
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
