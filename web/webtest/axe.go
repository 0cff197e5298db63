package webtest

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
)

// Tools is where test.sh keeps programs for tests; npm's packages are in npm/node_modules below it.
func Tools() string {
	if dir := os.Getenv("LATCHKEY_TOOLS"); dir != "" {
		return dir
	}
	cache, _ := os.UserCacheDir()
	return filepath.Join(cache, "latchkey", "tools")
}

// ErrNoAxe says how to get what Axe needs.
var ErrNoAxe = errors.New("axe-core is missing; ./test.sh installs it, or: npm install --prefix " + Tools() + "/npm axe-core@4.11.0")

// Axe lists what axe-core finds wrong with the screen by WCAG 2.2, levels A and AA, and by its best practices. One a line.
// Where axe-core is missing it gives ErrNoAxe, unless CI=true says that nothing may be missing.
func (tab *Tab) Axe() (string, error) {
	tab.t.Helper()
	source, err := os.ReadFile(filepath.Join(Tools(), "npm", "node_modules", "axe-core", "axe.min.js"))
	if errors.Is(err, os.ErrNotExist) && os.Getenv("CI") != "true" {
		return "", ErrNoAxe
	}
	if err != nil {
		tab.t.Fatal(ErrNoAxe, err)
	}
	if !Eval[bool](tab, "'axe' in window") {
		Eval[any](tab, string(source)+"\n;void 0")
	}
	found := Eval[string](tab, `axe.run(document, { resultTypes: ["violations"], runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] })
		.then((r) => JSON.stringify(r.violations.flatMap((v) => v.nodes.map((n) => v.id + ": " + v.help + ": " + n.html.slice(0, 120) + " " + (n.any[0]?.message || n.all[0]?.message || "")))))`)
	var all []string
	if err := json.Unmarshal([]byte(found), &all); err != nil {
		tab.t.Fatal(err)
	}
	return strings.Join(all, "\n"), nil
}
