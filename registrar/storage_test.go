package registrar_test

import (
	"testing"

	"latchkey/registrar"
	"latchkey/storage"
	"latchkey/storage/storagetest"
)

var _ registrar.Store = (*storage.DB)(nil)

// R5, R29: the rows of one life, in the real store.
func TestRegistrarLivesOnTheRealStore(t *testing.T) {
	db := storagetest.Open(t, storage.Options{})
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
