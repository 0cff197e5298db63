package registrar_test

import (
	"context"
	"fmt"

	"github.com/emiago/sipgo/sip"

	"latchkey"
	"latchkey/internal/sipua"
	"latchkey/registrar"
)

// yes is a Wire to a core that grants everything. A real one is *sipua.Endpoint.
type yes struct{}

func (yes) Contact(user string, _ sip.Uri) sip.Uri {
	return sip.Uri{Scheme: "sip", User: user, Host: "127.0.0.1", Port: 5080}
}

func (yes) DoAuth(_ context.Context, req *sip.Request, _ sipua.Credentials) (*sip.Response, error) {
	fmt.Println(req.Method, req.To().Address.String(), "Expires", req.GetHeader("Expires").Value())
	return sip.NewResponseFromRequest(req, 200, "OK", nil), nil
}

func Example() {
	auth, err := registrar.ParseAuth("shared:s3cret")
	if err != nil {
		fmt.Println(err)
		return
	}
	opt := registrar.Options{Core: "sip:127.0.0.1:5060", Auth: auth}
	if err := opt.Validate(); err != nil {
		fmt.Println(err)
		return
	}
	r := registrar.New(newMemory(), yes{}, opt)
	ctx := context.Background()
	account := latchkey.AccountID("sip:b_at_cc.com@guest.example")
	fmt.Println(r.Keep(ctx, account, []latchkey.Interaction{latchkey.IM}))
	fmt.Println(r.Drop(ctx, account))
	// Output:
	// REGISTER sip:b_at_cc.com@guest.example Expires 600000
	// <nil>
	// REGISTER sip:b_at_cc.com@guest.example Expires 0
	// <nil>
}
