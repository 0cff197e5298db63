package smpp

import (
	"bytes"
	"fmt"
	"strings"
)

// State is a message_state (SMPP 3.4 §5.2.28).
type State byte

// The states. Scheduled and Skipped are of SMPP 5.0.
const (
	Scheduled     State = 0
	EnRoute       State = 1
	Delivered     State = 2
	Expired       State = 3
	Deleted       State = 4
	Undeliverable State = 5
	Accepted      State = 6
	Unknown       State = 7
	Rejected      State = 8
	Skipped       State = 9
)

// The abbreviations of receipts' texts (SMPP 3.4 appendix B).
var stateNames = [...]string{"SCHEDLD", "ENROUTE", "DELIVRD", "EXPIRED", "DELETED", "UNDELIV", "ACCEPTD", "UNKNOWN", "REJECTD", "SKIPPED"}

// String is the abbreviation in a receipt's text.
func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return fmt.Sprintf("message_state %d", byte(s))
}

// Final reports whether nothing comes after it.
func (s State) Final() bool {
	switch s {
	case Delivered, Expired, Deleted, Undeliverable, Rejected, Skipped:
		return true
	}
	return false
}

// Receipt is what became of a message that was submitted.
type Receipt struct {
	ID    string // message_id as the centre writes it here, which may be in another base than before: see SameID
	State State
	Error string // the centre's or the network's own code, or ""
}

// Receipt reads a delivery receipt out of a deliver_sm or data_sm: parameters win over the text of appendix B, whose fields
// may stand in any order. ok says whether it is one.
func (m *SM) Receipt() (r Receipt, ok bool) {
	kind := m.Class & classType
	id, named := Lookup(m.TLVs, TagReceiptedMessageID)
	// A centre may forget esm_class, but nobody else knows that parameter.
	if kind != classReceipt && kind != classIntermediate && !named {
		return Receipt{}, false
	}
	r = parseReceipt(string(m.Text()))
	if named {
		r.ID = string(bytes.TrimRight(id, "\x00"))
	}
	if v, ok := Lookup(m.TLVs, TagMessageState); ok && len(v) == 1 {
		r.State = State(v[0])
	}
	if v, ok := Lookup(m.TLVs, TagNetworkErrorCode); ok && len(v) == 3 {
		r.Error = fmt.Sprintf("%d/%d", v[0], int(v[1])<<8|int(v[2]))
	}
	return r, r.ID != ""
}

// parseReceipt reads "id:… sub:001 dlvrd:001 submit date:… done date:… stat:DELIVRD err:000 text:…" (SMPP 3.4 appendix B).
func parseReceipt(text string) Receipt {
	r := Receipt{State: Unknown}
	lower := lowered(text)
	if at := strings.Index(lower, "text:"); at >= 0 && (at == 0 || lower[at-1] == ' ') {
		// What the message itself said comes last; some put it elsewhere, and then nothing behind it is to be trusted.
		if head := lower[:at]; strings.Contains(head, "id:") && strings.Contains(head, "stat:") {
			text, lower = text[:at], head
		}
	}
	r.ID = field(text, lower, "id:")
	r.Error = field(text, lower, "err:")
	word := strings.ToUpper(field(text, lower, "stat:"))
	for s, name := range stateNames {
		// Some write the whole word, or cut it elsewhere.
		if word != "" && (word == name || strings.HasPrefix(longNames[s], word) && len(word) >= 5 || strings.HasPrefix(word, longNames[s])) {
			r.State = State(s)
		}
	}
	return r
}

// lowered is strings.ToLower for ASCII alone: its octets stay where they are.
func lowered(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

var longNames = [...]string{"SCHEDULED", "ENROUTE", "DELIVERED", "EXPIRED", "DELETED", "UNDELIVERABLE", "ACCEPTED", "UNKNOWN", "REJECTED", "SKIPPED"}

// field is the word behind a key that begins the text or follows a space.
func field(text, lower, key string) string {
	for from := 0; ; {
		at := strings.Index(lower[from:], key)
		if at < 0 {
			return ""
		}
		at += from
		from = at + len(key)
		if at > 0 && !strings.ContainsRune(" \t\r\n,;", rune(lower[at-1])) {
			continue
		}
		rest := strings.TrimLeft(text[from:], " ")
		if end := strings.IndexAny(rest, " \t\r\n,;\x00"); end >= 0 {
			rest = rest[:end]
		}
		return rest
	}
}

// SameID lists the ways in which a message_id may be written: as it is, and, where it is a number, without zeros in front, in
// hexadecimal and in decimal. Many centres answer submit_sm in one base and send receipts in the other. The first
// is the one to believe if several messages fit.
func SameID(id string) []string {
	all := []string{id}
	add := func(s string) {
		for _, have := range all {
			if have == s {
				return
			}
		}
		all = append(all, s)
	}
	plain := strings.TrimLeft(strings.ToLower(id), "0")
	if plain == "" || len(plain) > 20 {
		return all
	}
	add(strings.ToLower(id))
	add(plain)
	if n, ok := number(plain, 10); ok {
		add(fmt.Sprintf("%x", n))
		add(fmt.Sprintf("%X", n))
		add(fmt.Sprintf("%08X", n))
		add(fmt.Sprintf("%08x", n))
	}
	if n, ok := number(plain, 16); ok {
		add(fmt.Sprint(n))
		add(fmt.Sprintf("%010d", n))
		add(strings.ToUpper(plain))
	}
	return all
}

// number reads the whole of s in a base.
func number(s string, base uint64) (n uint64, ok bool) {
	for _, c := range []byte(s) {
		d := uint64(99)
		switch {
		case c >= '0' && c <= '9':
			d = uint64(c - '0')
		case c >= 'a' && c <= 'f':
			d = uint64(c-'a') + 10
		}
		if d >= base || n > (1<<63)/base {
			return 0, false
		}
		n = n*base + d
	}
	return n, true
}
