package httpapi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"latchkey/files"
	"latchkey/guestclient"
)

// breaking is a connection that ends after so many bytes were written to it.
type breaking struct {
	net.Conn
	left *atomic.Int64
}

func (b breaking) Write(p []byte) (int, error) {
	if b.left.Add(-int64(len(p))) < 0 {
		_ = b.Close()
		return 0, io.ErrUnexpectedEOF
	}
	return b.Conn.Write(p)
}

// R32, R33, X3: the stand-alone client, which shares no code with the gateway, sends a file over connections that break, and it
// arrives once and whole; it fetches from any byte on.
func TestGuestClientSendsAFileOverBrokenConnections(t *testing.T) {
	w := filesWorld(t, files.Options{})
	s := w.serve()
	ctx, cancel := contextOf(t)
	defer cancel()
	var dials atomic.Int32
	transport := &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		var left atomic.Int64
		left.Store(600_000)
		if dials.Add(1) > 3 {
			left.Store(1 << 40)
		}
		return breaking{c, &left}, nil
	}}
	defer transport.CloseIdleConnections()
	c := guestclient.New(s.URL, account, password, guestclient.Options{HTTP: &http.Client{Transport: transport}, FirstBack: time.Millisecond})
	defer c.Close()
	body := make([]byte, 2<<20)
	_, _ = rand.NewChaCha8([32]byte{8}).Read(body)
	f, err := c.SendFileAs(ctx, "mine", aliceURI, "Grüße.bin", "image/png", bytes.NewReader(body))
	if err != nil || f.Size != int64(len(body)) || f.Name != "Grüße.bin" || f.State != "accepted" || dials.Load() < 4 {
		t.Fatalf("SendFileAs = %+v, %v after %d connections", f, err, dials.Load())
	}
	again, err := c.SendFileAs(ctx, "mine", aliceURI, "Grüße.bin", "image/png", bytes.NewReader(body))
	sent := fmt.Sprintf("file %s to %s", f.ID, aliceURI)
	if calls := w.hall.noted(); err != nil || again.ID != f.ID || slices.Index(calls, sent) != len(calls)-1 || !strings.Contains(calls[0], "is coming") {
		t.Errorf("SendFileAs again = %+v, %v; calls %v", again, err, calls)
	}
	var got bytes.Buffer
	if n, err := c.Fetch(ctx, f.ID, 0, &got); err != nil || n != int64(len(body)) || !bytes.Equal(got.Bytes(), body) {
		t.Errorf("Fetch = %d, %v", n, err)
	}
	got.Reset()
	if n, err := c.Fetch(ctx, f.ID, 2<<20-3, &got); err != nil || n != 3 || !bytes.Equal(got.Bytes(), body[2<<20-3:]) {
		t.Errorf("Fetch of the rest = %d, %v", n, err)
	}
	if all, err := c.Files(ctx, aliceURI, "", 10); err != nil || len(all) != 1 || all[0].ID != f.ID || all[0].From != account {
		t.Errorf("Files = %+v, %v", all, err)
	}
	empty, err := c.SendFile(ctx, aliceURI, "empty", "", bytes.NewReader(nil))
	if err != nil || empty.Size != 0 || empty.Type != "application/octet-stream" {
		t.Errorf("SendFile of nothing = %+v, %v", empty, err)
	}
	if err := c.FetchPreview(ctx, f.ID, io.Discard); err == nil {
		t.Error("a preview that isn't there was fetched")
	}
	if _, err := c.SendFile(ctx, carolURI, "x", "", bytes.NewReader(nil)); !errors.Is(err, guestclient.ErrNoRelation) {
		t.Errorf("SendFile to whom it may not = %v", err)
	}
	if err := c.CancelFile(ctx, f.ID); err != nil {
		t.Error(err)
	}
	if _, err := c.Fetch(ctx, f.ID, 0, io.Discard); err == nil {
		t.Error("a cancelled file was fetched")
	}
}
