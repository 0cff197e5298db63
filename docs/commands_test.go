package docs

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"latchkey/gateway"
	"latchkey/gateway/gatewaytest"
	"latchkey/imstest"
)

var (
	shellBlock  = regexp.MustCompile("(?ms)^```sh\n(.*?)^```$")
	probeName   = regexp.MustCompile(`probe\{"([a-z-]+)"`)
	configBlock = regexp.MustCompile("(?ms)^```yaml\n(.*?)^```$")
	ownFile     = regexp.MustCompile(`/(?:etc|run|var/lib)/latchkey/([\w.-]+)`)
)

// pages are those that people follow, with what stands in them.
func pages(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, pattern := range []string{"../README.md", "tutorial/*.md", "howto/*.md"} {
		list, err := filepath.Glob(pattern)
		if err != nil || len(list) == 0 {
			t.Fatal(pattern, err)
		}
		for _, page := range list {
			text, err := os.ReadFile(page)
			if err != nil {
				t.Fatal(err)
			}
			all[page] = string(text)
		}
	}
	return all
}

// Each configuration that a page shows is taken by the gateway, as it stands or beside what every gateway needs.
func TestConfigurationsOfTheDocsAreTaken(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	content := map[string]string{ // what a file must be to be read
		"dkim.pem":      string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})),
		"push-key":      "q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94\n", // RFC 8291 §5
		"smpp-password": "secret\n", "mail-password": "secret\n", "sip-secret": "secret\n", "s3-secret": "secret\n", "token": "secret\n", "mm7-password": "secret\n",
	}
	blocks := 0
	for page, text := range pages(t) {
		for _, block := range configBlock.FindAllStringSubmatch(text, -1) {
			var shown map[string]any
			if err := yaml.Unmarshal([]byte(block[1]), &shown); err != nil {
				t.Errorf("%s: %v in\n%s", page, err, block[1])
				continue
			}
			if shown["users"] != nil {
				continue // a directory file
			}
			blocks++
			dir := t.TempDir()
			config := ownFile.ReplaceAllStringFunc(block[1], func(path string) string {
				file := filepath.Join(dir, filepath.Base(path))
				if err := os.WriteFile(file, []byte(content[filepath.Base(path)]), 0o600); err != nil {
					t.Fatal(err)
				}
				return file
			})
			for name, value := range map[string]string{"directory": "file:users.yaml", "mail": "smtp://127.0.0.1:25", "mail-from": "invitations@example.com"} {
				if shown[name] == nil {
					config += name + ": " + value + "\n"
				}
			}
			path := filepath.Join(dir, "latchkey.yaml")
			if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := gateway.Load([]string{"--config", path}, func(string) string { return "" }); err != nil {
				t.Errorf("%s: %v in\n%s", page, strings.ReplaceAll(err.Error(), dir, "/etc/latchkey"), block[1])
			}
		}
	}
	if blocks < 15 {
		t.Errorf("only %d configurations are found", blocks)
	}
}

// What the page for writers of clients has one type does what the page says.
func TestCommandsForGuestsWork(t *testing.T) {
	for _, program := range []string{"curl", "jq"} {
		if _, err := exec.LookPath(program); err != nil {
			how := program + " is not installed; get it by: apt-get install " + program
			if os.Getenv("CI") == "true" {
				t.Fatal(how)
			}
			t.Skip(how)
		}
	}
	w := gatewaytest.New(t, gatewaytest.Plan{})
	a := w.Phone(gatewaytest.Alice, imstest.Manner{})
	b := w.FileGuest()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "photo.jpg"), []byte("a picture"), 0o600); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{ // what the answer to a command has, by what the command has
		"openapi.json":         "/rcsgw/invitee/message ",
		"/session/$ACCOUNT":    `"uri": "sip:a@cc.com"`,
		"/rcsgw/invitee/mess":  `"state":"accepted"`,
		"text/event-stream":    `"type":"delivery"`,
		"Content-Disposition:": `"name":"Grüße.jpg"`,
		"Repr-Digest:":         `"sha1":"1d1e5c382d544d695a9e2b884cf7d1ce12d94384"`,
	}
	tried := map[string]bool{}
	for _, block := range shellBlock.FindAllStringSubmatch(pages(t)["howto/guest-client.md"], -1) {
		if !strings.Contains(block[1], "curl ") {
			continue
		}
		command := strings.ReplaceAll(block[1], "GATEWAY=http://127.0.0.1:8080\n", "")
		command = strings.ReplaceAll(command, "curl -sN ", "curl -sN --max-time 2 ") // or it listens for ever
		for part, answer := range want {
			if !strings.Contains(command, part) {
				continue
			}
			tried[part] = true
			cmd := exec.CommandContext(w.Within(gatewaytest.Patience), "sh", "-c", command)
			cmd.Dir, cmd.Env = dir, append(os.Environ(), "GATEWAY="+w.URL(), "ACCOUNT="+b.Account, "PASSWORD="+b.Password)
			imstest.Eventually(t, gatewaytest.Patience, func() bool { return part != "text/event-stream" || len(a.Events("message")) > 0 })
			if out, err := cmd.Output(); !strings.Contains(string(out), answer) {
				t.Errorf("%s\nsays %s, %v, want %s", command, out, err, answer)
			}
		}
	}
	if len(tried) != len(want) {
		t.Errorf("only the commands for %v are on the page", tried)
	}
}

// The page on latchkey check has a row for each thing that it tries.
func TestEveryProbeHasItsRow(t *testing.T) {
	page, n := pages(t)["howto/check.md"], 0
	sources, err := filepath.Glob("../cmd/latchkey/check_*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, source := range sources {
		text, err := os.ReadFile(source)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range probeName.FindAllStringSubmatch(string(text), -1) {
			if n++; !strings.Contains(page, "\n| `"+p[1]+"` |") {
				t.Errorf("howto/check.md does not say what %s tries", p[1])
			}
		}
	}
	if n < 10 {
		t.Errorf("only %d probes are found", n)
	}
}
