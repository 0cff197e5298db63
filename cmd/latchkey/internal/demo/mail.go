package demo

import (
	"encoding/json"
	"net/http"
	"time"
)

// listMails tells the mailbox page what the mail server took, newest first.
func (w *World) listMails(rw http.ResponseWriter, _ *http.Request) {
	type entry struct {
		From    string    `json:"from"`
		To      string    `json:"to"`
		Subject string    `json:"subject"`
		Text    string    `json:"text"`
		Time    time.Time `json:"time"`
	}
	mails := w.mail.Mails()
	all := make([]entry, 0, len(mails))
	for i := len(mails) - 1; i >= 0; i-- {
		m := mails[i]
		all = append(all, entry{m.From, m.To, m.Subject, m.Text, m.Time})
	}
	rw.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(rw).Encode(all)
}
