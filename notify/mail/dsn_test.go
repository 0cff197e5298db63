package mail

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"latchkey"
)

// F19: reports are read in the form of each server, and what they mean for the invitation is told in words for its inviter.
func TestReportsOfManyServersAreUnderstood(t *testing.T) {
	const failed, delivered = latchkey.NotificationFailed, latchkey.NotificationDelivered
	seen := map[string]bool{"README.md": true}
	for _, c := range []struct {
		file, action, status string
		state                latchkey.NotificationState
		reason               string
	}{
		{"postfix-unknown.eml", "failed", "5.1.1", failed, "there is no such mailbox (5.1.1)"},
		{"postfix-delayed.eml", "delayed", "4.4.1", "", ""},
		{"postfix-delivered.eml", "delivered", "2.0.0", delivered, ""},
		{"postfix-smtputf8.eml", "failed", "5.2.1", failed, "the mailbox is closed (5.2.1)"},
		{"exim-unrouteable.eml", "failed", "5.0.0", failed, "the mail could not be delivered (5.0.0)"},
		{"exchange-notfound.eml", "failed", "5.1.10", failed, "there is no such mailbox (5.1.10)"},
		{"gmail-full.eml", "failed", "5.2.2", failed, "the mailbox is full (5.2.2)"},
		{"sendmail-gaveup.eml", "failed", "4.4.7", failed, "the mail could not be delivered in time (4.4.7)"},
		{"postfix3-unknown.eml", "failed", "5.1.1", failed, "there is no such mailbox (5.1.1)"},
		{"postfix3-full.eml", "failed", "5.2.2", failed, "the mailbox is full (5.2.2)"},
		{"postfix3-smtputf8.eml", "failed", "5.1.1", failed, "there is no such mailbox (5.1.1)"},
		{"postfix3-gaveup-delayed.eml", "delayed", "4.2.0", "", ""},
		{"postfix3-gaveup-failed.eml", "failed", "4.2.0", failed, "the mail could not be delivered in time (4.2.0)"},
		{"postfix3-relayed.eml", "relayed", "2.0.0", "", ""},
		{"postfix3-delivered.eml", "delivered", "2.0.0", delivered, ""},
		{"holiday.eml", "", "", "", ""},
	} {
		seen[c.file] = true
		text, err := os.ReadFile(filepath.Join("testdata/dsn", c.file))
		if err != nil {
			t.Fatal(err)
		}
		for form, text := range map[string][]byte{"as it is": text, "with bare line feeds": bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n"))} {
			d, err := ReadReport(bytes.NewReader(text))
			if (err == nil) != (c.action != "") || d != (DeliveryStatus{c.action, c.status}) {
				t.Errorf("%s %s: %+v, %v; want %s %s", c.file, form, d, err, c.action, c.status)
			}
			if state, reason := d.meaning(); state != c.state || reason != c.reason {
				t.Errorf("%s: %q, %q; want %q, %q", c.file, state, reason, c.state, c.reason)
			}
		}
	}
	entries, err := os.ReadDir("testdata/dsn")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !seen[e.Name()] {
			t.Errorf("%s is read by no test", e.Name())
		}
	}
}

const statusHead = "Content-Type: multipart/report; boundary=b\r\n\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; x\r\n\r\n"

// RFC 3464 §2.3: of several recipients, into which an alias was expanded, one that has it is enough; odd forms are
// read as far as they make sense, and the text of a server does not get to the inviter.
func TestOddReportsAreReadAsFarAsTheyMakeSense(t *testing.T) {
	for _, c := range []struct{ groups, action, status string }{
		{"Action: failed\r\nStatus: 5.1.1\r\n\r\nAction: delivered\r\nStatus: 2.0.0\r\n", "delivered", "2.0.0"},
		{"Action: delayed\r\nStatus: 4.0.0\r\n\r\nACTION: Failed (bad)\r\nSTATUS: 5.7.1 (no)\r\n", "failed", "5.7.1"},
		{"Action: failed\r\nDiagnostic-Code: smtp; 550 5.2.1 <x> closed\r\n", "failed", "5.2.1"},
		{"Action: failed\r\nStatus: 9.9\r\n", "failed", ""},
		{"Action: failed\r\nStatus: 5.1.1\r\nno colon here\r\n", "failed", "5.1.1"},
		{"Action: exploded\r\nStatus: 5.1.1\r\n", "", ""},
		{"Status: 5.1.1\r\n", "", ""},
	} {
		d, err := ReadReport(strings.NewReader(statusHead + c.groups + "\r\n--b--\r\n"))
		if d != (DeliveryStatus{c.action, c.status}) || (err == nil) != (c.action != "") {
			t.Errorf("%q: %+v, %v", c.groups, d, err)
		}
	}
	deep := ""
	for range 50 {
		deep += "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n"
	}
	if _, err := ReadReport(strings.NewReader(deep + "Content-Type: message/delivery-status\r\n\r\nAction: failed\r\n")); !errors.Is(err, errNoReport) {
		t.Errorf("fifty parts in each other: %v", err)
	}
	cut := errors.New("cut")
	if _, err := ReadReport(iotest.ErrReader(cut)); !errors.Is(err, cut) {
		t.Errorf("a mail that is cut off: %v, want the cause: the sender comes again", err)
	}
	if _, reason := (DeliveryStatus{"failed", "5.7.1"}).meaning(); reason != "the recipient's mail server refuses the mail (5.7.1)" {
		t.Errorf("reason %q", reason)
	}
}

func FuzzReadReport(f *testing.F) {
	files, err := filepath.Glob("testdata/dsn/*.eml")
	if err != nil || len(files) == 0 {
		f.Fatal(files, err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte(statusHead + "Action: failed\r\n\r\n--b--"))
	f.Fuzz(func(t *testing.T, text []byte) {
		d, err := ReadReport(bytes.NewReader(text))
		if (err == nil) != (actions[d.Action] > 0) || d.Status != "" && statusForm.FindString(d.Status) != d.Status {
			t.Fatalf("%+v, %v", d, err)
		}
		state, reason := d.meaning()
		if strings.ContainsAny(reason, "\r\n<@") || (state == latchkey.NotificationFailed) != (reason != "") {
			t.Fatalf("%+v means %q, %q", d, state, reason)
		}
	})
}

// S9: an address for reports is known again in any letters, and nobody makes one without the key.
func TestBounceAddressesCannotBeMade(t *testing.T) {
	b := &Bounces{Domain: "bounce.example", Key: []byte("key")}
	id := latchkey.NewToken()
	a := b.Address(id)
	local, _, _ := strings.Cut(a, "@")
	if len(local) > 64 || strings.ToLower(a) != a {
		t.Errorf("%s: %d characters before the @, RFC 5321 §4.5.3.1.1 allows 64", a, len(local))
	}
	for _, s := range []string{a, strings.ToUpper(a)} {
		if got, ok := b.Notice(s); !ok || got != id {
			t.Errorf("Notice(%s) = %q, %v", s, got, ok)
		}
	}
	other := &Bounces{Domain: b.Domain, Key: []byte("other")}
	for _, s := range []string{"", "b-@bounce.example", "b-" + id + "@bounce.example", "b-" + id + "-@bounce.example", a + "x", "x" + a, local, local + "@cc.com", other.Address(id), strings.Replace(a, id, latchkey.NewToken(), 1)} {
		if got, ok := b.Notice(s); ok {
			t.Errorf("Notice(%s) = %q", s, got)
		}
	}
}
