package registrar_test

import (
	"path/filepath"
	"testing"

	"latchkey/registrar"
	"latchkey/storage"
)

var _ registrar.Store = (*storage.DB)(nil)

// R5, R29: the rows of one life, in the real store.
func TestRegistrarLivesOnTheRealStore(t *testing.T) {
	db, err := storage.Open(t.Context(), filepath.Join(t.TempDir(), "latchkey.db"), storage.Options{})
	if err != nil {
		t.Fatalf("Open = %v", err)
	}
	defer db.Close()
	n := newNetwork(t)
	opt := options()
	opt.IMServer = imURI
	if err := registrar.New(db, n, opt).Keep(t.Context(), bob, im()); err != nil {
		t.Fatalf("Keep = %v", err)
	}
	again := registrar.New(db, n, opt)
	if err := again.Resume(t.Context()); err != nil {
		t.Fatalf("Resume = %v", err)
	}
	if err := again.Confirm(t.Context(), bob); err != nil {
		t.Fatalf("Confirm = %v", err)
	}
	if err := again.Drop(t.Context(), bob); err != nil {
		t.Fatalf("Drop = %v", err)
	}
	if regs, err := db.Registrations(t.Context(), bob); err != nil || len(regs) != 0 {
		t.Errorf("rows after Drop: %v, %v", regs, err)
	}
	if got := len(n.requests()); got != 6 {
		t.Errorf("%d REGISTERs, want 6", got)
	}
}
