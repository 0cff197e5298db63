package files

import (
	"context"
	"errors"
	"strings"
	"time"

	"latchkey"
	"latchkey/files/thumbnail"
)

// drawWait is how long a file waits for its turn to be drawn. One is drawn at a time: the largest takes near 100 MiB for a second.
const drawWait = 10 * time.Second

// draw makes the small picture of a guest's picture, which the inviter is shown before they fetch it. A file without one is as good.
func (w *Writer) draw(ctx context.Context, f latchkey.StoredFile) {
	if f.Direction != latchkey.ToInviter || w.file.Preview != "" || !strings.HasPrefix(f.Type, "image/") {
		return
	}
	turn := time.NewTimer(drawWait)
	defer turn.Stop()
	select {
	case w.vault.drawing <- struct{}{}:
		defer func() { <-w.vault.drawing }()
	case <-turn.C:
		return
	}
	r, err := w.vault.place.open(ctx, f.ID)
	if err != nil {
		return
	}
	defer r.Close()
	small, err := thumbnail.Make(r)
	if err == nil {
		err = w.SetPreview(ctx, "image/jpeg", small)
	}
	if err != nil && !errors.Is(err, thumbnail.ErrFormat) {
		w.vault.log.Info("no small picture", latchkey.LogFile, f.ID, latchkey.LogError, err)
	}
}
