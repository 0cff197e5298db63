package web

import (
	_ "embed"
	"html/template"
	"net/http"
	"strings"
)

//go:embed optout.html
var optOutSource string

// optOutWords are what the page says in one language. The keys are those of the steps.
type optOutWords struct {
	Dir                     string
	Ask, AskText, AskButton string
	Out, OutText, OutButton string
	In, InText              string
	Unknown, UnknownText    string
}

// optOutLanguages are the page's languages; the first tag of Accept-Language that is among them counts, else en.
var optOutLanguages = map[string]optOutWords{
	"en": {"ltr",
		"Stop these invitations?", "Nobody can invite you to a chat here any more, and all your chats here end. The people who invited you are not told why.", "Stop all invitations",
		"You will get no more invitations", "All your chats here have ended, and nobody can invite you any more.", "Undo: let people invite me again",
		"You can be invited again", "Chats that have ended stay ended. Ask the person for a new invitation.",
		"This link can’t be used", "It is incomplete, or the invitation is over. Open the link at the end of the newest invitation you got."},
	"de": {"ltr",
		"Diese Einladungen beenden?", "Niemand kann Sie hier mehr zu einem Chat einladen, und alle Ihre Chats hier enden. Wer Sie eingeladen hat, erfährt nicht, warum.", "Alle Einladungen beenden",
		"Sie bekommen keine Einladungen mehr", "Alle Ihre Chats hier sind beendet, und niemand kann Sie mehr einladen.", "Rückgängig: mich wieder einladen lassen",
		"Sie können wieder eingeladen werden", "Beendete Chats bleiben beendet. Bitten Sie um eine neue Einladung.",
		"Dieser Link geht nicht", "Er ist unvollständig, oder die Einladung ist vorbei. Öffnen Sie den Link am Ende der neuesten Einladung."},
	"fr": {"ltr",
		"Arrêter ces invitations ?", "Plus personne ne pourra vous inviter à discuter ici, et toutes vos discussions ici prennent fin. Les personnes qui vous ont invité ne sauront pas pourquoi.", "Arrêter toutes les invitations",
		"Vous ne recevrez plus d’invitations", "Toutes vos discussions ici sont terminées, et plus personne ne peut vous inviter.", "Annuler : accepter de nouveau les invitations",
		"Vous pouvez de nouveau être invité", "Les discussions terminées le restent. Demandez une nouvelle invitation.",
		"Ce lien ne fonctionne pas", "Il est incomplet, ou l’invitation a expiré. Ouvrez le lien à la fin de la dernière invitation reçue."},
	"es": {"ltr",
		"¿Detener estas invitaciones?", "Nadie más podrá invitarle a chatear aquí y todos sus chats aquí terminan. Quienes le invitaron no sabrán por qué.", "Detener todas las invitaciones",
		"No recibirá más invitaciones", "Todos sus chats aquí han terminado y nadie puede invitarle.", "Deshacer: permitir invitaciones de nuevo",
		"Pueden invitarle de nuevo", "Los chats terminados siguen terminados. Pida una nueva invitación.",
		"Este enlace no sirve", "Está incompleto o la invitación ha caducado. Abra el enlace al final de la invitación más reciente."},
	"zh": {"ltr",
		"停止接收这些邀请？", "此后任何人都无法再邀请您在这里聊天，您在这里的所有聊天都将结束。邀请您的人不会得知原因。", "停止所有邀请",
		"您将不再收到邀请", "您在这里的所有聊天已结束，任何人都无法再邀请您。", "撤销：允许他人再次邀请我",
		"他人可以再次邀请您", "已结束的聊天不会恢复。请对方重新发送邀请。",
		"此链接无法使用", "链接不完整，或邀请已失效。请打开您收到的最新邀请末尾的链接。"},
	"ar": {"rtl",
		"هل تريد إيقاف هذه الدعوات؟", "لن يتمكن أحد بعد الآن من دعوتك إلى محادثة هنا، وستنتهي جميع محادثاتك هنا. لن يُخبَر من دعاك بالسبب.", "إيقاف جميع الدعوات",
		"لن تصلك دعوات أخرى", "انتهت جميع محادثاتك هنا، ولا يمكن لأحد دعوتك بعد الآن.", "تراجع: السماح بدعوتي من جديد",
		"يمكن دعوتك من جديد", "المحادثات المنتهية تبقى منتهية. اطلب دعوة جديدة.",
		"لا يمكن استخدام هذا الرابط", "الرابط غير مكتمل أو انتهت الدعوة. افتح الرابط الموجود في نهاية أحدث دعوة وصلتك."},
}

// OptOut writes the page of the opt-out link, which works without script. The steps are ask, out, in and unknown; name and proof are what its
// button sends back.
func OptOut() func(w http.ResponseWriter, r *http.Request, status int, step, name, proof string) {
	page := template.Must(template.New("optout.html").Parse(strings.ReplaceAll(optOutSource, "../../app/", "../../app/"+read().version+"/")))
	return func(w http.ResponseWriter, r *http.Request, status int, step, name, proof string) {
		language := optOutLanguage(r.Header.Get("Accept-Language"))
		words := optOutLanguages[language]
		v := struct {
			Language, Dir, Title, Text, Button, Action, Name, Proof string
			Danger                                                  bool
		}{Language: language, Dir: words.Dir, Name: name, Proof: proof}
		here := r.URL.EscapedPath()
		account := here[strings.LastIndexByte(here, '/')+1:]
		switch step {
		case "ask":
			v.Title, v.Text, v.Button, v.Action, v.Danger = words.Ask, words.AskText, words.AskButton, "../optout/"+account, true
		case "out":
			v.Title, v.Text, v.Button, v.Action = words.Out, words.OutText, words.OutButton, "../optin/"+account
		case "in":
			v.Title, v.Text = words.In, words.InText
		default:
			v.Title, v.Text = words.Unknown, words.UnknownText
		}
		h := w.Header()
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Content-Language", language)
		h.Set("Vary", "Accept-Language")
		h.Set("Cache-Control", "no-store")
		h.Set("Referrer-Policy", "no-referrer")
		w.WriteHeader(status)
		if r.Method != http.MethodHead {
			_ = page.Execute(w, v) // a client that went away is nobody's failure
		}
	}
}

// optOutLanguage is the first language of an Accept-Language that the page has.
func optOutLanguage(accept string) string {
	for item := range strings.SplitSeq(accept, ",") {
		tag, _, _ := strings.Cut(strings.TrimSpace(item), ";")
		tag, _, _ = strings.Cut(strings.ToLower(strings.TrimSpace(tag)), "-")
		if _, ok := optOutLanguages[tag]; ok {
			return tag
		}
	}
	return "en"
}
