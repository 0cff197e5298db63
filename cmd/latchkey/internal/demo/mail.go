package demo

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"time"
)

// letter is what the mailbox page shows: a mail, an SMS or an MMS.
type letter struct {
	Kind    string    `json:"kind"` // mail, sms or mms
	From    string    `json:"from"`
	To      string    `json:"to"`
	Subject string    `json:"subject"`
	Text    string    `json:"text"`
	HTML    string    `json:"html,omitempty"`
	Picture string    `json:"picture,omitempty"` // a data: URL
	Parts   int       `json:"parts,omitempty"`   // of an SMS
	Time    time.Time `json:"time"`
}

// listMails tells the mailbox page what mail server, SMS centre and MMS centre took, newest first.
func (w *World) listMails(rw http.ResponseWriter, _ *http.Request) {
	all := []letter{}
	for _, m := range w.mail.Mails() {
		all = append(all, letter{Kind: "mail", From: m.From, To: m.To, Subject: m.Subject, Text: m.Text, HTML: m.HTML, Time: m.Time})
	}
	for _, m := range w.smsc.Messages() {
		all = append(all, letter{Kind: "sms", From: m.From, To: "+" + m.To, Subject: "SMS", Text: m.Text, Parts: max(m.Parts, 1), Time: m.Time})
	}
	for _, m := range w.mmsc.Taken() {
		l := letter{Kind: "mms", From: "Latchkey", To: m.To, Subject: "MMS: " + m.Subject, Text: m.Text, Time: m.Time}
		if m.Picture != nil {
			l.Picture = "data:" + m.PictureType + ";base64," + base64.StdEncoding.EncodeToString(m.Picture)
		}
		all = append(all, l)
	}
	slices.SortStableFunc(all, func(a, b letter) int { return b.Time.Compare(a.Time) })
	rw.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(rw).Encode(all)
}
