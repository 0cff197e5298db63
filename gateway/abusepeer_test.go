package gateway_test

import (
	"fmt"
	"net/textproto"
	"os"
	"path/filepath"
	"testing"
)

// esperanto is a language of an operator's own.
const esperanto = `{{define "dir"}}ltr{{end}}{{define "and"}} kaj {{end}}{{define "until"}}{{.Format "2006-01-02"}}{{end}}{{define "sms"}}{{.Names}} invitas vin:{{end}}
{{define "subject"}}{{.Names}} invitas vin{{end}}{{define "hello"}}Saluton {{.Guest}}!{{end}}{{define "intro"}}{{people .}} invitas vin.{{end}}{{define "writes"}}{{.}}:{{end}}
{{define "open"}}Malfermu{{end}}{{define "copy"}}Aŭ:{{end}}{{define "terms"}}Ĝis {{.Until}}.{{end}}{{define "stop"}}Ĉu ne?{{end}}{{define "never"}}Neniam?{{end}}{{define "optout"}}Haltu{{end}}{{define "machine"}}Maŝino.{{end}}`

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// lmtp hands a mail over as a mail server does to its neighbour (RFC 2033).
func lmtp(addr, to, mail string) error {
	c, err := textproto.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	for _, step := range []struct {
		say  string
		code int
	}{{"", 220}, {"LHLO mx.example", 250}, {"MAIL FROM:<>", 250}, {fmt.Sprintf("RCPT TO:<%s>", to), 250}, {"DATA", 354}} {
		if step.say != "" {
			if err := c.PrintfLine("%s", step.say); err != nil {
				return err
			}
		}
		if _, _, err := c.ReadResponse(step.code); err != nil {
			return err
		}
	}
	w := c.DotWriter()
	if _, err := w.Write([]byte(mail)); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	_, _, err = c.ReadResponse(250)
	return err
}
