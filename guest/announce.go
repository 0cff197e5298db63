package guest

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"latchkey"
)

// announcements say to an inviter that an invitation went out; %s is the mailbox or number.
var announcements = map[string]string{
	"en": "%s is not a user here yet. An invitation is on its way; your message will be delivered when it is accepted.",
	"de": "%s ist hier noch nicht angemeldet. Eine Einladung ist unterwegs; deine Nachricht wird zugestellt, sobald sie angenommen ist.",
	"es": "%s aún no es usuario. La invitación está en camino; tu mensaje se entregará cuando sea aceptada.",
	"fr": "%s n’est pas encore inscrit. Une invitation est en route ; votre message sera remis dès qu’elle sera acceptée.",
	"zh": "%s 尚未注册。邀请已发出，对方接受后即可收到您的消息。",
}

// Announcement tells an inviter who has called somebody that an invitation went out to them (R1), in the best of the languages
// that an Accept-Language value names (RFC 3261 §20.3), or in English.
func Announcement(languages string, id latchkey.Identifier) string {
	return strings.Replace(announcements[language(languages)], "%s", id.String(), 1)
}

// language is the best of those that an Accept-Language value names and that there are words in.
func language(languages string) string {
	type choice struct {
		language string
		quality  float64
	}
	var wanted []choice
	for entry := range strings.SplitSeq(languages, ",") {
		tag, params, _ := strings.Cut(entry, ";")
		primary, _, _ := strings.Cut(strings.ToLower(strings.TrimSpace(tag)), "-")
		c := choice{primary, 1}
		if _, q, ok := strings.Cut(params, "q="); ok {
			c.quality, _ = strconv.ParseFloat(strings.TrimSpace(q), 64)
		}
		if announcements[primary] != "" && c.quality > 0 {
			wanted = append(wanted, c)
		}
	}
	slices.SortStableFunc(wanted, func(a, b choice) int { return cmp.Compare(b.quality, a.quality) })
	if len(wanted) == 0 {
		return "en"
	}
	return wanted[0].language
}
