package wording

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"latchkey"
)

// reasons are the texts that the channels give for failures, as they stand in the code: what begins as they do is one.
func reasons(t *testing.T) (all []string) {
	t.Helper()
	for _, pattern := range []string{"../*.go", "../mail/*.go", "../../gateway/sms.go", "../../gateway/mms.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatal(pattern, err)
		}
		for _, name := range files {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(file, func(n ast.Node) bool {
				if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
					s, _ := strconv.Unquote(lit.Value)
					for _, begin := range []string{"the ", "there is no such ", "that is no ", "; given up"} {
						if strings.HasPrefix(s, begin) && !strings.Contains(s, "%") {
							all = append(all, s)
							break
						}
					}
				}
				return true
			})
		}
	}
	return all
}

// internal are texts of that form that are for logs.
var internal = map[string]bool{"the notice has no link any more": true, "the key is not PEM": true, "the key is neither PKCS #8 nor PKCS #1": true}

// Issue 8, line 1: each reason for a failure is said in each language that is built in.
func TestEachReasonIsSaidInEachLanguage(t *testing.T) {
	b, err := New("")
	if err != nil {
		t.Fatal(err)
	}
	all := reasons(t)
	if len(all) < 35 {
		t.Fatalf("%d reasons are found in the code, want all", len(all))
	}
	for _, tag := range b.Languages() {
		for _, reason := range all {
			if tag != English && !internal[reason] && b.languages[tag].text.Lookup(reason) == nil && !strings.HasPrefix(reason, "the server ") {
				t.Errorf("%s: %q is not said", tag, reason)
			}
		}
	}
}

// Issue 8, line 1: what became of an invitation is told in the inviter's language, with the server's code and what follows.
func TestOutcomeIsInTheInvitersLanguage(t *testing.T) {
	dir := t.TempDir()
	base, err := os.ReadFile("text/en.words")
	if err != nil {
		t.Fatal(err)
	}
	own, _, _ := strings.Cut(string(base), `{{define "delivered"}}`) // as one that was written before there were these
	if err := os.WriteFile(filepath.Join(dir, "eo.words"), []byte(own), 0o600); err != nil {
		t.Fatal(err)
	}
	b, err := New(dir)
	if err != nil {
		t.Fatal(err)
	}
	const failed, delivered = latchkey.NotificationFailed, latchkey.NotificationDelivered
	for _, c := range []struct {
		tag    string
		state  latchkey.NotificationState
		reason string
		want   string
	}{
		{"de-AT", failed, "there is no such mailbox (5.1.1)", "Die Einladung an b@cc.com konnte nicht zugestellt werden: dieses Postfach gibt es nicht (5.1.1)."},
		{"de", failed, "the mail server asks to come again later (451); given up after many attempts",
			"Die Einladung an b@cc.com konnte nicht zugestellt werden: der Mailserver bittet, später wiederzukommen (451); nach vielen Versuchen aufgegeben."},
		{"zh", failed, "the telephone was not reached in time; given up, since the invitation expires", "发给 b@cc.com 的邀请未能送达：未能及时联系到该电话；因邀请即将过期而放弃。"},
		{"ar", failed, "the mailbox is full (5.2.2)", "تعذر تسليم الدعوة إلى \u2068b@cc.com\u2069: صندوق البريد ممتلئ \u2068(5.2.2)\u2069."},
		{"tr", delivered, "", "b@cc.com adresine gönderilen davet teslim edildi."},
		{"en", failed, "something new (5.0.0)", "The invitation to b@cc.com could not be delivered: something new (5.0.0)."},
		{"eo", failed, "the mailbox is full", "The invitation to b@cc.com could not be delivered: the mailbox is full."},
		{"xx", delivered, "", "The invitation to b@cc.com was delivered."},
		{"de", latchkey.NotificationSent, "", ""},
		{"de", latchkey.NotificationQueued, "the mailbox is full", ""},
	} {
		if got, err := b.Outcome(c.tag, "b@cc.com", c.state, c.reason); err != nil || got != c.want {
			t.Errorf("%s, %s: %q, %v; want %q", c.tag, c.reason, got, err, c.want)
		}
	}
}
