package docs

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

// promtool is Prometheus's own tool. A missing one fails the test under CI and else skips it.
func promtool(t *testing.T, args ...string) (out string, err error) {
	t.Helper()
	path, err := exec.LookPath("promtool")
	if err != nil {
		const how = "promtool is not installed; get it by: apt-get install prometheus"
		if os.Getenv("CI") == "true" {
			t.Fatal(how)
		}
		t.Skip(how)
	}
	text, err := exec.Command(path, args...).CombinedOutput()
	return string(text), err
}

// rules are those of deploy/alerts.yml.
type rules struct {
	Groups []struct {
		Name  string `yaml:"name"`
		Rules []struct {
			Alert       string            `yaml:"alert"`
			Expr        string            `yaml:"expr"`
			For         string            `yaml:"for,omitempty"`
			Labels      map[string]string `yaml:"labels"`
			Annotations map[string]string `yaml:"annotations"`
		} `yaml:"rules"`
	} `yaml:"groups"`
}

func readRules(t *testing.T) (r rules) {
	t.Helper()
	text, err := os.ReadFile("../deploy/alerts.yml")
	if err == nil {
		err = yaml.Unmarshal(text, &r)
	}
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Prometheus itself takes the alert rules, and each one fires for the series that it is for and not for their neighbours.
func TestAlertsFireWhereTheyShould(t *testing.T) {
	for _, args := range [][]string{{"check", "rules", "../deploy/alerts.yml"}, {"test", "rules", "../deploy/alerts_test.yml"}} {
		if out, err := promtool(t, args...); err != nil {
			t.Errorf("promtool %s %s: %v\n%s", args[0], args[1], err, out)
		}
	}
}

// The tests of the rules can fail: they notice each rule that never fires, and each that fires whatever its figure is.
func TestTestsOfAlertsNoticeABrokenRule(t *testing.T) {
	tests, err := os.ReadFile("../deploy/alerts_test.yml")
	if err != nil {
		t.Fatal(err)
	}
	for name, broken := range map[string]func(expr string) string{
		"never fires":        func(expr string) string { return "(" + expr + ") and on () vector(0) > 1" },
		"fires for anything": func(expr string) string { return strings.ReplaceAll(expr, "> ", "> bool ") },
	} {
		all := readRules(t)
		for _, group := range all.Groups {
			for i, rule := range group.Rules {
				if group.Rules[i].Expr = broken(rule.Expr); group.Rules[i].Expr == rule.Expr {
					t.Fatalf("%s is not broken", rule.Alert)
				}
			}
		}
		text, err := yaml.Marshal(all)
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		for file, content := range map[string][]byte{"alerts.yml": text, "alerts_test.yml": tests} {
			if err := os.WriteFile(filepath.Join(dir, file), content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if out, err := promtool(t, "check", "rules", filepath.Join(dir, "alerts.yml")); err != nil {
			t.Fatal(out)
		}
		out, _ := promtool(t, "test", "rules", filepath.Join(dir, "alerts_test.yml"))
		for _, group := range all.Groups {
			for _, rule := range group.Rules {
				if !strings.Contains(out, "alertname: "+rule.Alert+",") {
					t.Errorf("no test notices where %s %s", rule.Alert, name)
				}
			}
		}
	}
}
