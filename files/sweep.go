package files

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"latchkey"
)

// sweepEvery is how often files are looked for that are over.
const sweepEvery = time.Minute

// sweepBatch is how many files one look takes.
const sweepBatch = 100

// Run takes up what a restart interrupted, and then erases what is over, until ctx ends.
func (v *Vault) Run(ctx context.Context) error {
	if err := v.tidy(ctx); err != nil && ctx.Err() == nil {
		v.log.Error("files not tidied", latchkey.LogError, err)
	}
	promised, err := v.rows.Promised(ctx)
	if err != nil && ctx.Err() == nil {
		return err
	}
	for _, f := range promised {
		v.fetch(f, "")
	}
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		if err := v.sweep(ctx); err != nil && ctx.Err() == nil {
			v.log.Error("files not swept", latchkey.LogError, err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// Close ends what is being fetched; it goes on after a restart.
func (v *Vault) Close() error {
	v.stop()
	v.fetching.Wait()
	v.place.close()
	return nil
}

// tidy makes rows and place agree after a crash: bytes that no row names any more are erased, and files of a relation that is gone.
func (v *Vault) tidy(ctx context.Context) error {
	orphans, err := v.rows.OrphanedFiles(ctx)
	if err != nil {
		return err
	}
	if err := v.forget(ctx, orphans); err != nil {
		return err
	}
	var failed error
	err = v.place.each(ctx, func(id latchkey.FileID) {
		f, err := v.rows.File(ctx, id)
		if latchkey.Is(err, latchkey.KindNotFound) || err == nil && f.State == latchkey.FileFailed {
			err = v.erase(ctx, id)
		}
		failed = errors.Join(failed, err)
	})
	return errors.Join(err, failed)
}

// sweep erases files that are over.
func (v *Vault) sweep(ctx context.Context) error {
	v.mu.Lock()
	left := slices.Collect(maps.Keys(v.left))
	v.mu.Unlock()
	for _, id := range left {
		if err := v.erase(ctx, id); err != nil {
			return err
		}
	}
	for {
		now := time.Now()
		stale, err := v.rows.StaleFiles(ctx, now, now.Add(-v.opt.Quiet), sweepBatch)
		if err != nil {
			return err
		}
		over := stale[:0]
		for _, f := range stale {
			if f.State != latchkey.FileReceiving || !v.writing(f.ID) || !now.Before(f.Expires) {
				over = append(over, f)
			}
		}
		if err := v.forget(ctx, over); err != nil {
			return err
		}
		if len(stale) < sweepBatch || len(over) == 0 {
			return nil
		}
	}
}

// writing reports whether bytes of the file are coming.
func (v *Vault) writing(id latchkey.FileID) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.writers[id] != nil
}
