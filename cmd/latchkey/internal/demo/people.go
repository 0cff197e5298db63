package demo

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"net/http"
	"sync"
	"time"

	"latchkey/imstest"
)

// Times of people who take theirs.
const (
	thinking  = 700 * time.Millisecond // of everybody who answers
	slowness  = 5 * time.Second        // until Sloan answers the call
	neverRing = 24 * time.Hour
)

// news is until Sloan's phone says that it has a message, and again until he reads it.
func (w *World) news() time.Duration { return w.slow * 2 / 5 }

// person is somebody whom a developer can let invite, to see what then happens.
type person struct {
	Key, Name string
	About     string // who it is
	Sees      string // what the guest will see
	uri       string
	phones    []imstest.Manner // none: no phone is registered
	act       func(w *World, p *person, phone *imstest.Phone, e imstest.PhoneEvent)

	mu    sync.Mutex
	alive []*imstest.Phone
}

func (p *person) phone(n int) *imstest.Phone {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.alive[n]
}

// newPeople are all but Alice, in the order of the start page.
func newPeople(slow time.Duration) []*person {
	all := []*person{
		{Key: "robin", Name: "Robin", About: "answers by himself, after a moment of typing", Sees: "“Robin is typing…”, the ticks up to read, and an answer",
			phones: []imstest.Manner{{Tags: imstest.ChatTags}}, act: says("Robin here, by myself. You wrote: %s")},
		{Key: "olive", Name: "Olive", About: "is offline: no phone of hers is registered", Sees: "“offline” beside her name; a message stays waiting until she is there or the invitation ends"},
		{Key: "bert", Name: "Bert", About: "is busy: his phone answers each call with 486", Sees: "Bert online, and each message as not sent, because he is busy",
			phones: []imstest.Manner{{Tags: imstest.ChatTags, AnswerCode: 486}}},
		{Key: "dina", Name: "Dina", About: "declines: her phone answers each call with 603", Sees: "Dina online, and each message as not sent, because she declined",
			phones: []imstest.Manner{{Tags: imstest.ChatTags, AnswerCode: 603}}},
		{Key: "nora", Name: "Nora", About: "never answers: her phone rings", Sees: "the message waiting while it rings; after 90 seconds the gateway hangs up, and rings again later, until she answers or the invitation ends",
			phones: []imstest.Manner{{Tags: imstest.ChatTags, RingFor: neverRing}}},
		{Key: "sloan", Name: "Sloan", About: "is slow: he takes the call after 5 seconds and tells 2 seconds later that he has the message", Sees: "the ticks one after the other: sent after 5 seconds, delivered after 7, read after 9, and then an answer",
			phones: []imstest.Manner{{Tags: imstest.ChatTags, RingFor: slow, NoReceipts: true}}, act: slowly},
		{Key: "tina", Name: "Tina", About: "has two devices that ring at once; she takes the call on her phone, and the core cancels the tablet’s", Sees: "one chat, each message once, and the answer of one device",
			phones: []imstest.Manner{{Tags: imstest.ChatTags, RingFor: 500 * time.Millisecond}, {Tags: imstest.ChatTags, RingFor: neverRing}}, act: says("Tina, on my phone; the tablet has stopped ringing. You wrote: %s")},
		{Key: "cato", Name: "Cato", About: "loses the TCP connection in the middle of each message", Sees: "nothing of that: the gateway calls again, sends the message once more under its old id, and it is delivered once",
			phones: []imstest.Manner{{Tags: imstest.ChatTags, CutAt: 1}}, act: says("Cato here. The connection broke, and I have this once: %s")},
		{Key: "fay", Name: "Fay", About: "sends files: a picture by MSRP, then a text that is fetched by HTTP", Sees: "write to her, and a picture with a preview comes, and notes.txt",
			phones: []imstest.Manner{{Tags: imstest.FileTags}}, act: sendsFiles},
		{Key: "theo", Name: "Theo", About: "takes files", Sees: "send him one: its progress, its ticks, and his answer with the SHA-1 that he has of it",
			phones: []imstest.Manner{{Tags: imstest.FileTags}}, act: takesFiles},
	}
	for _, p := range all {
		p.uri = "sip:" + p.Key + "@" + userDomain
	}
	return all
}

// start registers the person's phones.
func (p *person) start(ctx context.Context, w *World) error {
	for _, manner := range p.phones {
		phone, err := imstest.NewPhone(imstest.PhoneOptions{URI: p.uri, Core: w.core.Addr(), Manner: manner})
		if err != nil {
			return err
		}
		p.mu.Lock()
		p.alive = append(p.alive, phone)
		p.mu.Unlock()
		if p.act != nil {
			phone.OnEvent(func(e imstest.PhoneEvent) { w.later(func() { p.act(w, p, phone, e) }) })
		}
		if err := phone.Register(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (p *person) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, phone := range p.alive {
		phone.Close()
	}
}

// later runs what somebody does of their own accord; Close waits for it.
func (w *World) later(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.closed {
		w.acts.Go(f) // ends with acting
	}
}

// pause waits, and reports whether the demo still runs.
func (w *World) pause(d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-w.acting.Done():
		return false
	}
}

// says makes a person read each message and answer it after a moment of typing.
func says(format string) func(*World, *person, *imstest.Phone, imstest.PhoneEvent) {
	return func(w *World, _ *person, phone *imstest.Phone, e imstest.PhoneEvent) {
		if e.Type == "message" {
			phone.Display(e.Peer, e.ID)
			w.answer(phone, e.Peer, fmt.Sprintf(format, e.Text))
		}
	}
}

func (w *World) answer(phone *imstest.Phone, peer, text string) {
	ctx, cancel := context.WithTimeout(w.acting, 20*time.Second)
	defer cancel()
	_ = phone.Composing(ctx, peer, true)
	if w.pause(thinking) {
		_, _ = phone.Send(ctx, peer, text) // the guest may have left
	}
}

func slowly(w *World, _ *person, phone *imstest.Phone, e imstest.PhoneEvent) {
	if e.Type != "message" || !w.pause(w.news()) {
		return
	}
	_ = phone.Deliver(e.Peer, e.ID)
	if w.pause(w.news()) {
		phone.Display(e.Peer, e.ID)
		w.answer(phone, e.Peer, "Sloan here. That took me a while.")
	}
}

func sendsFiles(w *World, _ *person, phone *imstest.Phone, e imstest.PhoneEvent) {
	if e.Type != "message" {
		return
	}
	phone.Display(e.Peer, e.ID)
	ctx, cancel := context.WithTimeout(w.acting, 40*time.Second)
	defer cancel()
	picture := sunset()
	if _, err := phone.SendFile(ctx, e.Peer, imstest.FileOffer{Name: "sunset.png", Type: "image/png", Body: bytes.NewReader(picture), Size: int64(len(picture))}); err != nil {
		w.answer(phone, e.Peer, "I can't send you my picture: "+err.Error())
		return
	}
	_, _ = phone.OfferFile(ctx, e.Peer, "notes.txt", "text/plain", w.url+notesPath, int64(len(notes)))
}

func takesFiles(w *World, _ *person, phone *imstest.Phone, e imstest.PhoneEvent) {
	switch e.Type {
	case "message":
		phone.Display(e.Peer, e.ID)
		w.answer(phone, e.Peer, "Theo here. Send me a file.")
	case "file":
		w.answer(phone, e.Peer, fmt.Sprintf("I have %s, %d bytes, SHA-1 %s", e.File.Name, e.File.Size, e.File.Sum))
	case "filecut":
		w.answer(phone, e.Peer, fmt.Sprintf("%s stopped after %d bytes", e.File.Name, e.File.Got))
	}
}

const (
	notesPath = "/files/notes.txt"
	notes     = "Fay's notes. The gateway fetched them by HTTP from where her message said.\n"
)

// serveNotes is the content server of Fay's network.
func serveNotes(rw http.ResponseWriter, _ *http.Request) {
	rw.Header().Set("Content-Type", "text/plain")
	_, _ = rw.Write([]byte(notes))
}

// sunset is a picture.
func sunset() []byte {
	const width, height = 320, 200
	img := image.NewRGBA(image.Rect(0, 0, width, height))
	for y := range height {
		for x := range width {
			c := color.RGBA{uint8(60 + y), uint8(40 + y/3), uint8(120 - y/3), 255}
			if dx, dy := x-width/2, y-130; dx*dx+dy*dy < 45*45 && y < 150 {
				c = color.RGBA{255, 214, 102, 255}
			} else if y >= 150 {
				c = color.RGBA{24, 40, uint8(72 + (y*7+x)%24), 255}
			}
			img.SetRGBA(x, y, c)
		}
	}
	var b bytes.Buffer
	_ = png.Encode(&b, img) // into memory, so it never fails
	return b.Bytes()
}
