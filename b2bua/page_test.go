package b2bua

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"latchkey/internal/sipua"
)

// B2.13, RFC 3428 §4: a MESSAGE has no Contact, goes by way of the core, and is accepted by any 2xx; from 300 it is refused.
func TestPageIsAcceptedOrRefused(t *testing.T) {
	both(t, func(t *testing.T, s *side) {
		for status, want := range map[string]*Refused{
			"200 OK": nil, "202 Accepted": nil, "480 Away": {480, "Away", time.Minute, nil}, "607 Unwanted": {607, "Unwanted", 0, nil},
		} {
			result := make(chan error, 1)
			go func() { // ends with the answer
				result <- s.engine.Page(ctxOf(t), Page{
					From: "sip:b@guest.example", To: "sip:a@cc.com", Route: []string{"<sip:orig@scscf.example;lr>"}, ContentType: "text/plain",
					Header: []Field{{"Conversation-ID", "c1"}}, Body: []byte("hello"),
				})
			}()
			m := s.w.expect("MESSAGE")
			if m.uri() != "sip:a@cc.com" || m.get("Contact") != "" || m.body != "hello" || m.get("Content-Type") != "text/plain" || m.get("Conversation-ID") != "c1" {
				t.Errorf("MESSAGE\n%s", m.raw)
			}
			if routes := m.all("Route"); len(routes) != 2 || !strings.Contains(routes[0], s.w.addr) || routes[1] != "<sip:orig@scscf.example;lr>" {
				t.Errorf("Route %q, want the core and then the rest", routes)
			}
			fields := []string{}
			if want != nil && want.RetryAfter > 0 {
				fields = append(fields, "Retry-After: 60")
			}
			m.answer(status, "x", "", fields...)
			err := <-result
			no, refused := errors.AsType[*Refused](err)
			if refused && no.Response != nil && no.Response.StatusCode == no.Code {
				no.Response = nil
			}
			if want == nil && err != nil || want != nil && (!refused || *no != *want) {
				t.Errorf("Page = %v after %s, want %v", err, status, want)
			}
		}
	})
}

// RFC 3428 §8: what is longer than 1300 bytes on the wire is not sent; what has no other way goes over TCP.
func TestLongPageIsNotSent(t *testing.T) {
	s := newSide(t, "udp")
	page := Page{From: "sip:b@guest.example", To: "sip:a@cc.com", ContentType: "text/plain"}
	for n, fits := range map[int]bool{100: true, 700: true, 1100: false, 5000: false} {
		page.Body = []byte(strings.Repeat("x", n))
		result := make(chan error, 1)
		go func() { result <- s.engine.Page(ctxOf(t), page) }() // ends with the answer
		if !fits {
			if err := <-result; !errors.Is(err, ErrLongPage) {
				t.Errorf("Page of %d octets = %v, want %v", n, err, ErrLongPage)
			}
			continue
		}
		m := s.w.expect("MESSAGE")
		m.answer("200 OK", "x", "")
		if err := <-result; err != nil || len(m.raw) > 1300 || !strings.Contains(m.get("Via"), "UDP") {
			t.Errorf("Page of %d octets = %v, %d bytes by %s", n, err, len(m.raw), m.get("Via"))
		}
	}
	page.Body, page.AnyLength = []byte(strings.Repeat("x", 2000)), true
	result := make(chan error, 1)
	go func() { result <- s.engine.Page(ctxOf(t), page) }()
	m := s.w.expect("MESSAGE")
	m.answer("200 OK", "x", "")
	if err := <-result; err != nil || !strings.Contains(m.get("Via"), "TCP") {
		t.Errorf("Page of any length = %v by %s, want TCP", err, m.get("Via"))
	}
}

// S7: nothing that a page is made of can begin another field; and a page ends with the engine.
func TestPageCannotBeForged(t *testing.T) {
	s := newSide(t, "udp")
	for _, p := range []Page{
		{From: "sip:b@guest.example", To: "sip:a@cc.com\r\nX: y"}, {From: "sip:b@guest.example", To: "sip:a@cc.com", Header: []Field{{"X", "y\r\nZ: z"}}},
	} {
		if err := s.engine.Page(ctxOf(t), p); err == nil {
			t.Errorf("Page(%+v) = nil", p)
		}
	}
	result := make(chan error, 1)
	go func() {
		result <- s.engine.Page(context.Background(), Page{From: "sip:b@guest.example", To: "sip:a@cc.com"})
	}()
	s.w.expect("MESSAGE")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := s.engine.Shutdown(ctx); err != nil {
		t.Errorf("Shutdown = %v", err)
	}
	if err := <-result; err == nil || errors.Is(err, sipua.ErrTimeout) {
		t.Errorf("Page = %v after Shutdown", err)
	}
}
