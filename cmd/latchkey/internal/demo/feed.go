package demo

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
)

// phoneEvent is one thing that the phone's page shows. Peer is the other party's URI.
type phoneEvent struct {
	Type   string `json:"type"` // reset, chat, message, state, read, composing, online
	Peer   string `json:"peer,omitempty"`
	ID     string `json:"id,omitempty"`
	Text   string `json:"text,omitempty"`
	Time   string `json:"time,omitempty"`
	State  string `json:"state,omitempty"`
	Mine   bool   `json:"mine,omitempty"`
	Active bool   `json:"active,omitempty"`
	Online bool   `json:"online,omitempty"`
	File   bool   `json:"file,omitempty"` // of message: nothing that can be reported as read
}

// feed keeps all that happened on the phone, so that a page opened late shows the whole
// chat, and tells open pages what is new.
type feed struct {
	mu   sync.Mutex
	past []phoneEvent
	more chan struct{} // closed and replaced when past grows
}

func newFeed() *feed { return &feed{more: make(chan struct{})} }

func (f *feed) tell(e phoneEvent) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.past = append(f.past, e)
	close(f.more)
	f.more = make(chan struct{})
}

func (f *feed) after(n int) ([]phoneEvent, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.past[n:], f.more
}

// ServeHTTP streams the feed from its beginning.
func (f *feed) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	write := func(e phoneEvent) bool {
		b, err := json.Marshal(e)
		if err == nil {
			_, err = fmt.Fprintf(w, "data: %s\n\n", b)
		}
		return err == nil
	}
	if !write(phoneEvent{Type: "reset"}) {
		return
	}
	for n := 0; ; {
		events, more := f.after(n)
		for _, e := range events {
			if !write(e) {
				return
			}
		}
		n += len(events)
		if err := http.NewResponseController(w).Flush(); err != nil {
			return
		}
		select {
		case <-more:
		case <-r.Context().Done():
			return
		}
	}
}
