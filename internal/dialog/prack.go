package dialog

import (
	"fmt"
	"slices"
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
	h := res.GetHeader("RSeq")
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

// HasToken reports whether the comma-separated fields called name hold token, in any case.
func HasToken(m interface{ GetHeaders(string) []sip.Header }, name, token string) bool {
	return slices.ContainsFunc(Tokens(m, name), func(t string) bool { return strings.EqualFold(t, token) })
}

// Tokens lists the comma-separated values of all fields called name.
func Tokens(m interface{ GetHeaders(string) []sip.Header }, name string) []string {
	var all []string
	for _, h := range m.GetHeaders(name) {
		for t := range strings.SplitSeq(h.Value(), ",") {
			if t = strings.TrimSpace(t); t != "" {
				all = append(all, t)
			}
		}
	}
	return all
}
