package presence

import (
	"fmt"

	"github.com/emiago/sipgo/sip"

	"latchkey/internal/sipua"
)

// Answer answers an OPTIONS that asks for a guest with what the gateway can do for guests
// (RFC 3261 §11.2, PROTOCOLS B3.02). Whether the one who asks may know that, and whether there is
// such a guest, the caller has decided.
func (b *Board) Answer(t *sipua.Transaction) error {
	var hop sip.Uri
	if err := sip.ParseUri(b.opt.Core, &hop); err != nil {
		return fmt.Errorf("core %q: %w", b.opt.Core, err)
	}
	res := t.Response(sip.StatusOK, "")
	res.AppendHeader(&sip.ContactHeader{Address: b.wire.Contact(t.Request.Recipient.User, hop), Params: b.opt.Tags.Capabilities()})
	if b.opt.Allow != "" {
		res.AppendHeader(sip.NewHeader("Allow", b.opt.Allow))
	}
	res.AppendHeader(sip.NewHeader("Accept", "application/sdp"))
	return t.Send(res)
}
