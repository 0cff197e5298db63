package docs

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"latchkey/gateway/gatewaytest"
	"latchkey/imstest"
)

var (
	metricLine = regexp.MustCompile(`(?m)^# (HELP|TYPE) (latchkey_\S+) (.*)$`)
	labelName  = regexp.MustCompile(`([a-z_]+)="`)
	alertName  = regexp.MustCompile(`(?m)^ +- alert: (\S+)$`)
	selector   = regexp.MustCompile(`(latchkey_[a-z0-9_]+)\{([^}]*)\}`)
	matcher    = regexp.MustCompile(`([a-z]+)(?:=|=~|!=|!~)"([^"]*)"`)
	metricName = regexp.MustCompile(`\blatchkey_[a-z0-9]+_[a-z0-9_]+`)
)

// told is what /metrics of a gateway says.
func told(t *testing.T) string {
	t.Helper()
	w := gatewaytest.New(t, gatewaytest.Plan{Args: []string{"--directory=http://127.0.0.1:9"}}) // which is never asked; a file tells nothing
	// Requests are counted from the first one on, when its handler has ended.
	if res, err := http.Get(w.URL() + "/openapi.yaml"); err != nil {
		t.Fatal(err)
	} else {
		res.Body.Close()
	}
	text := ""
	imstest.Eventually(t, time.Minute, func() bool {
		text = w.Metrics()
		for _, late := range []string{"httpapi_requests_total", "files_held_files", "notify_queue_notices"} { // where the store is slow to count, one is left out
			if !strings.Contains(text, "# TYPE latchkey_"+late+" ") {
				return false
			}
		}
		return true
	})
	return text
}

// The page lists what a gateway really tells; alerts and the pages for operators name nothing else, and the pages say what to do about each alert.
func TestMetricsPageIsCurrent(t *testing.T) {
	metrics := told(t)
	type metric struct{ kind, help, labels string }
	all := map[string]metric{}
	for _, m := range metricLine.FindAllStringSubmatch(metrics, -1) {
		v := all[m[2]]
		if m[1] == "HELP" {
			v.help = m[3]
		} else {
			v.kind = m[3]
		}
		all[m[2]] = v
	}
	var names []string
	for name, v := range all {
		names = append(names, name)
		labels := map[string]bool{}
		for line := range strings.Lines(metrics) {
			if sample, values, ok := strings.Cut(line, "{"); ok && (sample == name || strings.HasPrefix(sample, name+"_") && v.kind == "histogram") {
				for _, l := range labelName.FindAllStringSubmatch(values, -1) {
					labels[l[1]] = l[1] != "le"
				}
			}
		}
		var list []string
		for l, ours := range labels {
			if ours {
				list = append(list, "`"+l+"`")
			}
		}
		slices.Sort(list)
		v.labels = strings.Join(list, ", ")
		all[name] = v
	}
	slices.Sort(names)
	var b strings.Builder
	b.WriteString(generated + "# Metrics\n\nWhat `/metrics` of `admin-listen` tells in Prometheus's form, beside what Go's runtime and the process tell. Labels have few values:\n" +
		"`channel` is `email`, `sms`, `mms`, or `chat`, in which inviters hear what became of their invitations. What to watch: [the how-to](../howto/watch.md).\n\n" +
		"| metric | type | labels | meaning |\n|---|---|---|---|\n")
	for _, name := range names {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", name, all[name].kind, all[name].labels, all[name].help)
	}
	compare(t, "metrics.md", b.String())
	var pages strings.Builder
	list, err := filepath.Glob("[eht]*/*.md") // explanation, howto, tutorial
	if err != nil || len(list) < 20 {
		t.Fatalf("%d pages, %v", len(list), err)
	}
	for _, page := range append(list, "../deploy/alerts.yml", "../deploy/alerts_test.yml") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		if page == "../deploy/alerts.yml" {
			for _, alert := range alertName.FindAllStringSubmatch(string(text), -1) {
				if !strings.Contains(pages.String(), "`"+alert[1]+"`") {
					t.Errorf("no page says what to do about %s", alert[1])
				}
			}
		}
		pages.Write(text)
		for _, name := range metricName.FindAllString(string(text), -1) {
			base := name
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				base = strings.TrimSuffix(base, suffix)
			}
			if all[base].kind == "" && all[name].kind == "" {
				t.Errorf("%s names %s, which no gateway tells", page, name)
			}
		}
		if !strings.HasSuffix(page, ".yml") {
			continue
		}
		for _, s := range selector.FindAllStringSubmatch(string(text), -1) {
			for _, m := range matcher.FindAllStringSubmatch(s[2], -1) {
				for value := range strings.SplitSeq(m[2], "|") {
					if (m[1] == "outcome" || m[1] == "state") && !regexp.MustCompile(`(?m)^`+s[1]+`\{([^}]*,)?`+m[1]+`="`+value+`"`).MatchString(metrics) {
						t.Errorf("%s asks for %s of which %s is %s; a gateway that begins has no such row, and an increase from nothing is none", page, s[1], m[1], value)
					}
				}
			}
		}
	}
}
