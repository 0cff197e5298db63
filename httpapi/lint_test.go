package httpapi

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The linter is Redocly's (npm, @redocly/cli); a warning is a failure.
func TestDocumentPassesTheLinter(t *testing.T) {
	tools := os.Getenv("LATCHKEY_TOOLS")
	if cache, err := os.UserCacheDir(); tools == "" && err == nil {
		tools = filepath.Join(cache, "latchkey", "tools")
	}
	redocly := filepath.Join(tools, "npm", "node_modules", "@redocly", "cli", "bin", "cli.js")
	_, err := exec.LookPath("node")
	if _, there := os.Stat(redocly); errors.Join(err, there) != nil {
		missing := "node or its package @redocly/cli is missing; get it by: ./test.sh ./httpapi"
		if os.Getenv("CI") == "true" {
			t.Fatal(missing)
		}
		t.Skip(missing)
	}
	cmd := exec.CommandContext(t.Context(), "node", redocly, "lint", "--config", "testdata/redocly.yaml", "openapi.yaml")
	cmd.Env = append(os.Environ(), "REDOCLY_TELEMETRY=off", "REDOCLY_SUPPRESS_UPDATE_NOTICE=true", "NO_COLOR=1")
	out, err := cmd.CombinedOutput()
	if text := string(out); err != nil || strings.Contains(text, "warning") || !strings.Contains(text, "is valid") {
		t.Errorf("%v\n%s", err, text)
	}
}
