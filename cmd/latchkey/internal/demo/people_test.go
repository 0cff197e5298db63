package demo

import (
	"bytes"
	"context"
	"crypto/sha1"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"latchkey/guestclient"
)

// visitor is a guest of the demo and what happened to them.
type visitor struct {
	t      *testing.T
	client *guestclient.Client

	mu     sync.Mutex
	events []guestclient.Event
}

// visit logs in by the newest invitation and follows the events until the test ends.
func visit(t *testing.T, w *World) *visitor {
	t.Helper()
	client, err := guestclient.Open(link(t, w, ""), guestclient.Options{})
	if err != nil {
		t.Fatal(err)
	}
	v := &visitor{t: t, client: client}
	if _, err := client.Login(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { // ends with ctx
		defer close(done)
		for e, err := range client.Events(ctx, 0) {
			if err != nil {
				return
			}
			v.mu.Lock()
			v.events = append(v.events, e)
			v.mu.Unlock()
		}
	}()
	t.Cleanup(func() { cancel(); <-done; client.Close() })
	return v
}

// all are the events so far that one chooses.
func (v *visitor) all(choose func(guestclient.Event) bool) []guestclient.Event {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(v.events), func(e guestclient.Event) bool { return !choose(e) })
}

// await waits for an event.
func (v *visitor) await(t *testing.T, what string, choose func(guestclient.Event) bool) guestclient.Event {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if all := v.all(choose); len(all) > 0 {
			return all[0]
		}
	}
	t.Fatalf("no %s among %+v", what, v.all(func(guestclient.Event) bool { return true }))
	return guestclient.Event{}
}

func (v *visitor) says(t *testing.T, to, text string) guestclient.Message {
	t.Helper()
	m, err := v.client.Send(t.Context(), to, text)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// states of a message or file, in the order in which they were told.
func (v *visitor) states(id string) (states []string) {
	for _, e := range v.all(func(e guestclient.Event) bool { return e.Type == "delivery" }) {
		switch {
		case e.Message != nil && e.Message.ID == id:
			states = append(states, e.Message.State)
		case e.File != nil && e.File.ID == id:
			states = append(states, e.File.State)
		}
	}
	return states
}

func (v *visitor) reaches(t *testing.T, id, state string) guestclient.Event {
	t.Helper()
	return v.await(t, state, func(e guestclient.Event) bool {
		return e.Type == "delivery" && (e.Message != nil && e.Message.ID == id && e.Message.State == state || e.File != nil && e.File.ID == id && e.File.State == state)
	})
}

// answers waits for a text from somebody.
func (v *visitor) answers(t *testing.T, from, text string) {
	t.Helper()
	v.await(t, "answer "+text, func(e guestclient.Event) bool {
		return e.Type == "message" && e.From == from && strings.Contains(e.Message.Text, text)
	})
}

// X9: with each of the demo's people the guest sees what the start page promises.
func TestGuestSeesWhatEachPersonDoes(t *testing.T) {
	w := start(t)
	for _, p := range w.people {
		if err := w.Invite(t.Context(), p.Key, guestMail); err != nil {
			t.Fatal(err)
		}
	}
	v := visit(t, w)
	until(t, "all are online but Olive", func() bool { // those who have not answered at the login are unknown at first
		inviters, err := v.client.Inviters(t.Context())
		if err != nil || len(inviters) != len(w.people) {
			t.Fatalf("%d inviters, %v; want %d", len(inviters), err, len(w.people))
		}
		return !slices.ContainsFunc(inviters, func(in guestclient.Inviter) bool {
			return in.Status != map[bool]string{true: "offline", false: "online"}[in.Name == "Olive"]
		})
	})
	refused := func(t *testing.T, p *person, code string) {
		m := v.says(t, p.uri, "hello")
		e := v.reaches(t, m.ID, "failed")
		if e.Message.Reason == "" || len(p.phone(0).Invites()) == 0 {
			t.Errorf("failed because %q, %d INVITEs", e.Message.Reason, len(p.phone(0).Invites()))
		}
		t.Logf("%s: %s", code, e.Message.Reason)
	}
	stories := map[string]func(t *testing.T, p *person){
		"robin": func(t *testing.T, p *person) {
			m := v.says(t, p.uri, "hello")
			v.reaches(t, m.ID, "displayed")
			v.await(t, "typing", func(e guestclient.Event) bool { return e.Type == "composing" && e.From == p.uri && e.State == "active" })
			v.answers(t, p.uri, "You wrote: hello")
		},
		"olive": func(t *testing.T, p *person) {
			m := v.says(t, p.uri, "hello")
			if h, err := v.client.History(t.Context(), p.uri, "", 1); err != nil || len(h) != 1 || h[0].State != "accepted" || len(v.states(m.ID)) != 0 {
				t.Errorf("history %+v, %v, states %v", h, err, v.states(m.ID))
			}
		},
		"bert": func(t *testing.T, p *person) { refused(t, p, "486") },
		"dina": func(t *testing.T, p *person) { refused(t, p, "603") },
		"nora": func(t *testing.T, p *person) {
			m := v.says(t, p.uri, "hello")
			until(t, "Nora's phone rings", func() bool { return len(p.phone(0).Invites()) == 1 })
			if s := v.states(m.ID); len(s) != 0 {
				t.Errorf("states %v while it rings", s)
			}
		},
		"sloan": func(t *testing.T, p *person) {
			begun := time.Now()
			m := v.says(t, p.uri, "hello")
			v.reaches(t, m.ID, "sent")
			if d := time.Since(begun); d < w.slow {
				t.Errorf("sent after %v", d)
			}
			v.reaches(t, m.ID, "displayed")
			if d := time.Since(begun); d < w.slow+2*w.news() || !slices.Equal(v.states(m.ID), []string{"sent", "delivered", "displayed"}) {
				t.Errorf("states %v, the last after %v", v.states(m.ID), d)
			}
			v.answers(t, p.uri, "That took me a while")
		},
		"tina": func(t *testing.T, p *person) {
			m := v.says(t, p.uri, "hello")
			v.reaches(t, m.ID, "displayed")
			v.answers(t, p.uri, "Tina, on my phone")
			until(t, "the tablet's call is cancelled", func() bool { return len(p.phone(1).Requests("CANCEL")) == 1 })
			if n := len(p.phone(1).Events("message")); n != 0 {
				t.Errorf("the tablet has %d messages", n)
			}
		},
		"cato": func(t *testing.T, p *person) {
			m := v.says(t, p.uri, "hello")
			v.reaches(t, m.ID, "displayed")
			v.answers(t, p.uri, "I have this once: hello")
			if got, calls := p.phone(0).Events("message"), len(p.phone(0).Invites()); len(got) != 1 || calls < 2 {
				t.Errorf("%d messages, %d calls; want one message, and a second call for it", len(got), calls)
			}
		},
		"fay": func(t *testing.T, p *person) {
			v.says(t, p.uri, "hello")
			for name, want := range map[string][]byte{"sunset.png": sunset(), "notes.txt": []byte(notes)} {
				e := v.await(t, name, func(e guestclient.Event) bool { return e.Type == "file" && e.From == p.uri && e.File.Name == name })
				var got bytes.Buffer
				if _, err := v.client.Download(t.Context(), e.File.ID, 0, &got); err != nil || !bytes.Equal(got.Bytes(), want) {
					t.Errorf("%s: %d bytes, %v; the event was %+v", name, got.Len(), err, e.File)
				}
			}
		},
		"theo": func(t *testing.T, p *person) {
			body := bytes.Repeat([]byte("file "), 50_000)
			f, err := v.client.SendFile(t.Context(), p.uri, "a.bin", "application/octet-stream", bytes.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			v.reaches(t, f.ID, "sent")
			v.answers(t, p.uri, fmt.Sprintf("I have a.bin, 250000 bytes, SHA-1 %x", sha1.Sum(body)))
		},
	}
	t.Run("people", func(t *testing.T) {
		for _, p := range w.people {
			story := stories[p.Key]
			if story == nil {
				t.Errorf("no story of %s", p.Name)
				continue
			}
			t.Run(p.Key, func(t *testing.T) { t.Parallel(); story(t, p) })
		}
	})
	for _, p := range w.people {
		for i := range p.phones {
			if wrong := p.phone(i).Violations(); len(wrong) > 0 {
				t.Errorf("%s's phone %d saw %q", p.Name, i+1, wrong)
			}
		}
	}
	// F42: who leaves while it rings hangs up.
	if err := v.client.Logout(t.Context()); err != nil {
		t.Fatal(err)
	}
	until(t, "Nora's phone stops ringing", func() bool { return len(w.person("nora").phone(0).Requests("CANCEL")) == 1 })
}

// RFC 3261 §18.1.1: what is too long for UDP finds the gateway by TCP at the same port, and nobody else.
func TestLongRequestsFindTheGateway(t *testing.T) {
	w := start(t)
	at := map[string]string{}
	for _, a := range w.gateway.Addrs().SIP {
		at[a.Network] = a.HostPort
	}
	if at["udp"] == "" || at["udp"] != at["tcp"] {
		t.Errorf("SIP is listened for at %v, want one port for both", at)
	}
}

func until(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !f(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within %v", what, patience)
		}
	}
}

// F25, R32: two devices of the same guest get each message once, whatever way their events come.
func TestTwoDevicesOfOneGuestGetEachMessageOnce(t *testing.T) {
	w := start(t)
	if err := w.Invite(t.Context(), "robin", guestMail); err != nil {
		t.Fatal(err)
	}
	link := link(t, w, "Robin")
	robin := w.person("robin")
	got := map[guestclient.Transport][]string{}
	var mu sync.Mutex
	var devices sync.WaitGroup
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	for _, way := range []guestclient.Transport{guestclient.SSE, guestclient.Poll, guestclient.WebSocket} {
		client, err := guestclient.Open(link, guestclient.Options{Transport: way})
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		up := make(chan struct{})
		devices.Go(func() { // ends when the last answer has come, or with ctx
			close(up)
			for e, err := range client.Events(ctx, 0) {
				if err != nil {
					t.Errorf("%s: %v", way, err)
					return
				}
				if e.Type == "message" {
					mu.Lock()
					got[way] = append(got[way], e.Message.Text)
					mu.Unlock()
					if strings.HasSuffix(e.Message.Text, "poll-1") {
						return
					}
				}
			}
		})
		<-up
		if way == guestclient.SSE {
			continue
		}
		for i := range 2 {
			text := fmt.Sprintf("%s-%d", map[guestclient.Transport]string{guestclient.Poll: "first", guestclient.WebSocket: "poll"}[way], i)
			if _, err := client.Send(ctx, robin.uri, text); err != nil {
				t.Fatal(err)
			}
			until(t, "Robin answers "+text, func() bool {
				h, err := client.History(ctx, robin.uri, "", 1)
				return err == nil && len(h) == 1 && strings.HasSuffix(h[0].Text, text) && h[0].From == robin.uri
			})
		}
	}
	devices.Wait()
	mu.Lock()
	defer mu.Unlock()
	for way, texts := range got {
		slices.Sort(texts)
		if n := len(slices.Compact(slices.Clone(texts))); n != len(texts) || n != 4 {
			t.Errorf("%s: %q, want four answers once each", way, texts)
		}
	}
	if n := len(robin.phone(0).Events("message")); n != 4 || len(got) != 3 {
		t.Errorf("Robin has %d messages, %d devices heard", n, len(got))
	}
}
