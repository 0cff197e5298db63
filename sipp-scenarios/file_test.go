package scenarios

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"latchkey"
)

// F51, F35, B3.03, B3.12: through a real core, A's phone is offered a file as RFC 5547 wants it; the user declines, and the guest is told.
func TestFileIsOfferedThroughKamailio(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "shared:s3cret", `AUTH_SHARED="s3cret"`)
	account, password, _ := w.invited("im", "file")
	a := newPhone(t, w.core, "a")
	a.register()
	atRest := a.rest("file-603.xml")
	b := w.login(account, password)

	req, err := http.NewRequestWithContext(bounded(t), "POST", b.base+"/rcsgw/invitee/file?to="+url.QueryEscape(alice), strings.NewReader("%PDF-1.7 and so on"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/pdf")
	req.Header.Set("Content-Disposition", `attachment; filename="plan.pdf"`)
	req.SetBasicAuth(account, password)
	res, err := http.DefaultClient.Do(req)
	if err != nil || res.StatusCode != http.StatusAccepted {
		t.Fatalf("POST file = %v, %v, want 202", res, err)
	}
	_ = res.Body.Close()
	e := b.event("a file that failed", func(e latchkey.Event) bool {
		return e.Type == latchkey.DeliveryEvent && e.File != nil && e.File.State == latchkey.FileFailed
	})
	if e.File.Name != "plan.pdf" || !strings.Contains(e.File.Reason, "declined") {
		t.Errorf("event %+v", e.File)
	}
	if n := atRest.requests("INVITE", ""); n != 1 {
		t.Errorf("%d INVITEs reached A's phone, want 1", n)
	}
	atRest.end()
}
