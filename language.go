package latchkey

import (
	"regexp"
	"strconv"
	"strings"
)

var languageTag = regexp.MustCompile(`^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8}){0,4}$`)

// IsLanguageTag reports whether s is a BCP 47 tag, as far as it matters for choosing a text.
func IsLanguageTag(s string) bool { return languageTag.MatchString(s) }

// PreferredLanguage is the tag that an Accept-Language value, of HTTP (RFC 9110 §12.5.4) or SIP (RFC 3261 §20.3), puts first, or "".
func PreferredLanguage(accept string) string {
	best, most := "", 0.0
	for item := range strings.SplitSeq(accept, ",") {
		tag, params, _ := strings.Cut(strings.TrimSpace(item), ";")
		tag = strings.TrimSpace(tag)
		quality := 1.0
		if q, ok := strings.CutPrefix(strings.ReplaceAll(params, " ", ""), "q="); ok {
			quality, _ = strconv.ParseFloat(q, 64) // what makes no sense is 0, and not wanted
		}
		if quality > most && IsLanguageTag(tag) {
			best, most = tag, quality
		}
	}
	return best
}
