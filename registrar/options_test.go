package registrar_test

import (
	"strings"
	"testing"
	"time"

	"latchkey/registrar"
)

func TestOptionsThatCannotWorkAreNamed(t *testing.T) {
	for _, c := range []struct {
		opt  registrar.Options
		want string
	}{
		{registrar.Options{}, "sip-core"},
		{registrar.Options{Core: "127.0.0.1:5060"}, "sip-core"},
		{registrar.Options{Core: "tel:+8613800000000"}, "sip-core"},
		{registrar.Options{Core: coreURI, IMServer: "im.example"}, "im-server"},
		{registrar.Options{Core: coreURI, FileServer: "http://x"}, "file-server"},
		{registrar.Options{Core: coreURI, Expires: time.Millisecond}, "sip-register-expires"},
		{registrar.Options{Core: coreURI, IMServer: imURI, Expires: time.Hour}, ""},
	} {
		err := c.opt.Validate()
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("Validate(%+v) = %v, want it to name %q", c.opt, err, c.want)
		}
	}
}
