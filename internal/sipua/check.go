package sipua

import (
	"github.com/emiago/sipgo/sip"

	"latchkey/internal/dialog"
)

// Fits is the strict look at a response that has found its transaction. A response that does not
// belong to the request is as good as none (RFC 3261 §8.1.3.3: more than one Via means a misrouted one).
func Fits(req *sip.Request, res *sip.Response) bool {
	from, to, callID, vias := res.From(), res.To(), res.CallID(), 0
	for range dialog.All(res, "Via") {
		vias++
	}
	if from == nil || to == nil || callID == nil || vias != 1 {
		return false
	}
	ours, _ := req.From().Params.Get("tag")
	theirs, _ := from.Params.Get("tag")
	return ours == theirs && callID.Value() == req.CallID().Value()
}
