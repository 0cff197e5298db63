package gateway_test

import (
	"strings"
	"testing"

	"latchkey/gateway/gatewaytest"
	"latchkey/imstest"
)

// X7: /metrics tells what an HTTP directory was asked, how that ended, and that it is left alone; a file has no such figures.
func TestDirectoryShowsInTheMetrics(t *testing.T) {
	t.Parallel()
	d := gatewaytest.NewDirectory(t)
	w := gatewaytest.New(t, gatewaytest.Plan{Args: []string{"--directory=" + d.URL}})
	has := func(lines ...string) {
		t.Helper()
		page := w.Metrics()
		for _, l := range lines {
			if !strings.Contains(page, "\n"+l+"\n") {
				t.Errorf("%s is not in\n%s", l, page)
			}
		}
	}
	has(`latchkey_directory_request_seconds_count{outcome="failed",request="users"} 0`, "latchkey_directory_left_alone 0")
	w.InviteAs(gatewaytest.Alice).Wants(201)
	w.Do("POST", "/rcsgw/invitee/user", gatewaytest.Alice, "wrong", `{"email":"b@cc.com"}`).Wants(401)
	w.Do("GET", "/rcsgw/user/b@cc.com", gatewaytest.Alice, gatewaytest.Password, "").Wants(200)
	has(`latchkey_directory_request_seconds_count{outcome="yes",request="authenticate"} 1`, `latchkey_directory_request_seconds_count{outcome="no",request="authenticate"} 1`,
		`latchkey_directory_remembered_total{request="authenticate"} 1`)
	d.Kill()
	imstest.Eventually(t, gatewaytest.Patience, func() bool {
		w.Do("GET", "/rcsgw/user/c@cc.com", gatewaytest.Alice, gatewaytest.Password, "").Wants(502)
		page := w.Metrics()
		return strings.Contains(page, "\nlatchkey_directory_left_alone 1\n") && !strings.Contains(page, "_count{outcome=\"left-alone\",request=\"users\"} 0\n") && !strings.Contains(page, "_count{outcome=\"failed\",request=\"users\"} 0\n")
	})
	if page := gatewaytest.New(t, gatewaytest.Plan{}).Metrics(); strings.Contains(page, "latchkey_directory") {
		t.Error("a directory file has figures of an HTTP one")
	}
}
