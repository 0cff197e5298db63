package msrpsdp_test

import (
	"errors"
	"strings"
	"testing"

	"latchkey/msrp"
	"latchkey/msrp/msrpsdp"
)

func crlf(s string) []byte {
	return []byte(strings.ReplaceAll(strings.TrimLeft(s, "\n"), "\n", "\r\n"))
}

func mustURI(t *testing.T, s string) msrp.URI {
	t.Helper()
	u, err := msrp.ParseURI(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// X2, B4.17, B4.19: what stands between two peers changes where a medium is, and nothing else.
func TestRelocatedMediumKeepsAllElse(t *testing.T) {
	in := crlf(`
v=0
o=alice 7 9 IN IP4 10.0.0.1
s=A chat, and more
c=IN IP4 10.0.0.1
t=0 0
a=group:BUNDLE 1
m=audio 4000 RTP/AVP 0
c=IN IP4 10.0.0.2
a=setup:active
a=path:nothing
m=message 7394 TCP/MSRP *
i=the chat
c=IN IP6 2001:db8::9
b=AS:100
a=accept-types:message/cpim  text/*
a=PATH:msrp://10.0.0.1:7394/x;tcp
a=setup:actpass
a=connection:new
a=max-size:9
a=msrp-cema
a=file-selector:name:"a b" type:text/plain size:3
m=message 0 TCP/MSRP *
a=path:msrp://10.0.0.1:7395/y;tcp
`)
	want := string(crlf(`
v=0
o=alice 7 9 IN IP4 192.0.2.5
s=A chat, and more
c=IN IP4 10.0.0.1
t=0 0
a=group:BUNDLE 1
m=audio 4000 RTP/AVP 0
c=IN IP4 10.0.0.2
a=setup:active
a=path:nothing
m=message 2856 TCP/TLS/MSRP *
i=the chat
c=IN IP4 192.0.2.5
b=AS:100
a=accept-types:message/cpim  text/*
a=max-size:9
a=file-selector:name:"a b" type:text/plain size:3
a=setup:passive
a=path:msrps://192.0.2.5:2856/ours;tcp
m=message 0 TCP/MSRP *
c=IN IP4 192.0.2.5
`))
	got, err := msrpsdp.Relocate(in, map[int]msrpsdp.Place{
		1: {Addr: "192.0.2.5", Port: 2856, URI: mustURI(t, "msrps://192.0.2.5:2856/ours;tcp"), Setup: msrpsdp.Passive, TLS: true}, 2: {Addr: "192.0.2.5"},
	}, "192.0.2.5")
	if err != nil || string(got) != want {
		t.Errorf("Relocate = %v\n%s\nwant\n%s", err, got, want)
	}
	if _, err := msrpsdp.Relocate(in, map[int]msrpsdp.Place{1: {Port: 9}}, ""); err == nil {
		t.Error("a place without an address is written")
	}
}

// B4.05, B4.17, F49: who connects, and where to, on either side of what stands between.
func TestRolesBetweenTwoPeers(t *testing.T) {
	path := msrp.Path{mustURI(t, "msrp://10.0.0.1:7394/x;tcp")}
	media := func(change func(*msrpsdp.Media)) msrpsdp.Media {
		m := msrpsdp.Media{Addr: "10.0.0.1", Port: 7394, Path: path}
		change(&m)
		return m
	}
	for _, c := range []struct {
		what    string
		m       msrpsdp.Media
		listens bool
		setup   msrpsdp.Setup
		dial    string
		ok      bool
	}{
		{"actpass", media(func(m *msrpsdp.Media) { m.Setup = msrpsdp.ActPass }), true, msrpsdp.Passive, "", true},
		{"active", media(func(m *msrpsdp.Media) { m.Setup = msrpsdp.Active }), true, msrpsdp.Passive, "", true},
		{"none", media(func(m *msrpsdp.Media) {}), true, msrpsdp.Passive, "", true},
		{"passive", media(func(m *msrpsdp.Media) { m.Setup = msrpsdp.Passive }), true, msrpsdp.Active, "10.0.0.1:7394", true},
		{"actpass, no listener", media(func(m *msrpsdp.Media) { m.Setup = msrpsdp.ActPass }), false, msrpsdp.Active, "10.0.0.1:7394", true},
		{"active, no listener", media(func(m *msrpsdp.Media) { m.Setup = msrpsdp.Active }), false, "", "", false},
		{"cema, elsewhere", media(func(m *msrpsdp.Media) {
			m.Setup, m.CEMA, m.Addr, m.Port = msrpsdp.ActPass, true, "10.0.0.7", 99
		}), false, msrpsdp.Active, "10.0.0.7:99", true},
		{"no cema, elsewhere", media(func(m *msrpsdp.Media) { m.Setup, m.Addr = msrpsdp.ActPass, "10.0.0.7" }), true, "", "", false},
	} {
		p, role, err := msrpsdp.Place{Addr: "192.0.2.5", Port: 2855}.Answering(c.m, c.listens)
		if (err == nil) != c.ok || err != nil && !errors.Is(err, msrpsdp.ErrNotAcceptable) {
			t.Errorf("offer %s: %v", c.what, err)
			continue
		}
		if err == nil && (p.Setup != c.setup || role.Dial != c.dial || role.Active != (c.setup == msrpsdp.Active) || p.CEMA != c.m.CEMA) {
			t.Errorf("offer %s: %+v, %+v", c.what, p, role)
		}
	}
	ours := msrpsdp.Place{Setup: msrpsdp.ActPass, CEMA: true}
	for _, c := range []struct {
		what string
		m    msrpsdp.Media
		dial string
	}{
		{"active", media(func(m *msrpsdp.Media) { m.Setup, m.Port = msrpsdp.Active, 9 }), ""},
		{"passive", media(func(m *msrpsdp.Media) { m.Setup = msrpsdp.Passive }), "10.0.0.1:7394"},
		{"none", media(func(m *msrpsdp.Media) {}), "10.0.0.1:7394"},
		{"passive by cema", media(func(m *msrpsdp.Media) { m.Setup, m.CEMA, m.Addr = msrpsdp.Passive, true, "10.0.0.7" }), "10.0.0.7:7394"},
	} {
		role, err := ours.Concluding(c.m)
		if err != nil || role.Dial != c.dial || role.Active != (c.dial != "") {
			t.Errorf("answer %s: %+v, %v", c.what, role, err)
		}
	}
	if _, err := ours.Concluding(media(func(m *msrpsdp.Media) { m.TLS = true })); err == nil {
		t.Error("an answer by another transport is taken")
	}
}

// What is relocated is read back at its new place, however the description was.
func FuzzRelocate(f *testing.F) {
	f.Add("v=0\r\no=- 1 1 IN IP4 h\r\ns=-\r\nc=IN IP4 10.0.0.1\r\nt=0 0\r\nm=message 1 TCP/MSRP *\r\na=accept-types:*\r\na=path:msrp://a:1/b;tcp\r\n")
	f.Add("v=0\no=- 1 1 IN IP6 ::1\ns=-\nt=0 0\nm=audio 1 RTP/AVP 0\ni=x\nm=message 1 TCP/TLS/MSRP *\ni=y\nc=IN IP6 ::1\na=path:msrps://a:1/b;tcp\na=Setup:active\n")
	place := msrpsdp.Place{Addr: "192.0.2.5", Port: 2855, Setup: msrpsdp.ActPass, URI: msrp.URI{Host: "192.0.2.5", Port: 2855, SessionID: "ours", Transport: "tcp"}}
	f.Fuzz(func(t *testing.T, text string) {
		all, err := msrpsdp.All([]byte(text))
		if err != nil || len(all) == 0 {
			return
		}
		places := map[int]msrpsdp.Place{}
		for _, m := range all {
			places[m.Index] = place
		}
		out, err := msrpsdp.Relocate([]byte(text), places, place.Addr)
		if err != nil {
			return
		}
		again, err := msrpsdp.All(out)
		if err != nil || len(again) != len(all) {
			t.Fatalf("%v: %q became %q", err, text, out)
		}
		for i, m := range again {
			if m.Index != all[i].Index || m.Addr != place.Addr || m.Port != place.Port || len(m.Path) != 1 || m.Path[0].SessionID != "ours" || m.TLS {
				t.Fatalf("%+v in %q, from %q", m, out, text)
			}
		}
	})
}
