package dialog

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/emiago/sipgo/sip"
)

// RSeq is the number of a reliable provisional response, or 0 if res isn't one (RFC 3262 §3:
// it needs both Require: 100rel and RSeq).
func RSeq(res *sip.Response) uint32 {
	if res.StatusCode <= 100 || res.StatusCode >= 200 || !HasToken(res, "Require", "100rel") {
		return 0
	}
	h := First(res, "RSeq")
	if h == nil {
		return 0
	}
	n, err := strconv.ParseUint(strings.TrimSpace(h.Value()), 10, 32)
	if err != nil {
		return 0
	}
	return uint32(n)
}

// RAck is the value of the RAck field that acknowledges a reliable response (RFC 3262 §7.2).
func RAck(rseq, cseq uint32, method sip.RequestMethod) string {
	return fmt.Sprintf("%d %d %s", rseq, cseq, method)
}

// ParseRAck reads what RAck writes (RFC 3262 §7.2). White space may be more than one blank.
func ParseRAck(value string) (rseq, cseq uint32, method sip.RequestMethod, ok bool) {
	f := strings.Fields(value)
	if len(f) != 3 {
		return 0, 0, "", false
	}
	r, err := strconv.ParseUint(f[0], 10, 32)
	if err != nil || r == 0 {
		return 0, 0, "", false
	}
	c, err := strconv.ParseUint(f[1], 10, 32)
	if err != nil {
		return 0, 0, "", false
	}
	return uint32(r), uint32(c), sip.RequestMethod(f[2]), true
}
