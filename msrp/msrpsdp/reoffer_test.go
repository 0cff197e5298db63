package msrpsdp_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"latchkey/msrp/msrpsdp"
)

// originOf is the o= line.
func originOf(description []byte) string {
	_, rest, _ := strings.Cut(string(description), "o=")
	line, _, _ := strings.Cut(rest, "\r\n")
	return line
}

// version is o='s third field, rest all others.
func version(t *testing.T, description []byte) (n int, rest string) {
	t.Helper()
	f := strings.Fields(originOf(description))
	if len(f) != 6 {
		t.Fatalf("o=%s", originOf(description))
	}
	fmt.Sscan(f[2], &n)
	return n, f[0] + f[1] + f[3] + f[4] + f[5]
}

// called is a session that we have offered and the peer has answered; we connect.
func called(t *testing.T) (*msrpsdp.Standing, []byte) {
	t.Helper()
	l := us()
	o, err := msrpsdp.Offer(l)
	if err != nil {
		t.Fatal(err)
	}
	a := offer(message("7000", types, "a=setup:passive", path)...)
	role, _, err := msrpsdp.Conclude(o, a)
	if err != nil {
		t.Fatal(err)
	}
	s, err := msrpsdp.Stand(l, o, a, role)
	if err != nil {
		t.Fatal(err)
	}
	return s, o
}

// B4.16: RFC 4975 §8.4, RFC 5547 §8.1: what the peer's next description means, by what differs in it.
func TestChangesAreTold(t *testing.T) {
	chat := message("7000", types, "a=setup:active", path, "a=max-size:1000")
	file := append(message("7000", types, "a=setup:active", path, "a=sendonly"), "a=file-selector:size:7 "+sha1Text, "a=file-transfer-id:t1")
	swap := func(lines []string, from, to string) []string {
		return strings.Split(strings.ReplaceAll(strings.Join(lines, "\r\n"), from, to), "\r\n")
	}
	for _, c := range []struct {
		name     string
		old, now []string
		want     msrpsdp.Change
	}{
		{"nothing", chat, chat, msrpsdp.Change{}},
		{"who would connect", chat, swap(chat, "setup:active", "setup:actpass"), msrpsdp.Change{}},
		{"sendrecv, spelled out", chat, append(chat, "a=sendrecv"), msrpsdp.Change{}},
		{"a new session id", chat, swap(chat, "/s1", "/s2"), msrpsdp.Change{Path: true}},
		{"a session id in other case", chat, swap(chat, "/s1", "/S1"), msrpsdp.Change{Path: true}},
		{"a new port", chat, swap(chat, "7000", "7001"), msrpsdp.Change{Path: true}},
		{"a new address in c= alone", chat, append(chat[:1:1], append([]string{"c=IN IP4 192.0.2.8"}, chat[1:]...)...), msrpsdp.Change{Path: true}},
		{"a relay", chat, swap(chat, "a=path:", "a=path:msrp://r:1/r;tcp "), msrpsdp.Change{Path: true}},
		{"a certificate", swap(chat, "TCP/MSRP", "TCP/TLS/MSRP"), append(swap(chat, "TCP/MSRP", "TCP/TLS/MSRP"), "a=fingerprint:SHA-256 "+strings.Repeat("AB:", 31)+"AB"), msrpsdp.Change{Path: true}},
		{"types", chat, swap(chat, types, types+" text/plain"), msrpsdp.Change{Terms: true}},
		{"size", chat, swap(chat, "1000", "1001"), msrpsdp.Change{Terms: true}},
		{"hold", chat, append(chat, "a=inactive"), msrpsdp.Change{Terms: true}},
		{"the end", chat, swap(chat, "m=message 7000", "m=message 0"), msrpsdp.Change{Off: true}},
		{"the end, again", swap(chat, "m=message 7000", "m=message 0"), swap(chat, "m=message 7000", "m=message 0"), msrpsdp.Change{}},
		{"same id, same file", file, file, msrpsdp.Change{}},
		{"same id, one selector more", file, swap(file, "size:7", "type:a/b size:7"), msrpsdp.Change{}},
		{"same id, another file", file, swap(file, "size:7", "size:8"), msrpsdp.Change{WrongFile: true}},
		{"same id, another hash", file, swap(file, "72:24", "72:25"), msrpsdp.Change{WrongFile: true}},
		{"new id, same file", file, swap(file, "id:t1", "id:t2"), msrpsdp.Change{Transfer: true}},
		{"new id, another file", swap(file, "size:7", "size:8"), swap(file, "id:t1", "id:t2"), msrpsdp.Change{Transfer: true}},
		{"the end of a transfer", file, swap(file, "m=message 7000", "m=message 0"), msrpsdp.Change{Off: true}},
	} {
		a, err := msrpsdp.Parse(offer(c.old...))
		b, err2 := msrpsdp.Parse(offer(c.now...))
		if got := msrpsdp.Compare(a, b); err != nil || err2 != nil || got != c.want {
			t.Errorf("%s: %+v, %v, %v, want %+v", c.name, got, err, err2, c.want)
		}
		if got, want := msrpsdp.Same(offer(c.old...), offer(c.now...)), c.want == (msrpsdp.Change{}); got != want {
			t.Errorf("%s: Same = %v", c.name, got)
		}
	}
	if msrpsdp.Same(nil, nil) {
		t.Error("nothing is the same as nothing")
	}
}

// B4.16: RFC 4975 §8.4, RFC 3264 §8: o= is kept while nothing changes, and counts on by one when something does.
func TestReofferCountsWhatChanges(t *testing.T) {
	s, first := called(t)
	again, err := s.Offer(s.Local())
	if err != nil || !bytes.Equal(first, again) {
		t.Errorf("nothing changed, but\n%s\nbecame\n%s, %v", first, again, err)
	}
	n, origin := version(t, first)
	// The connection is lost, the session goes on at a new path.
	for i, change := range []func(l *msrpsdp.Local){
		func(l *msrpsdp.Local) { l.URI.SessionID = "anew" },
		func(l *msrpsdp.Local) { l.Addr = "198.51.100.2" },
		func(l *msrpsdp.Local) { l.MaxSize = 5 },
	} {
		l := s.Local()
		change(&l)
		o, err := s.Offer(l)
		if err != nil {
			t.Fatal(err)
		}
		if m, rest := version(t, o); m != n+i+1 || rest != origin {
			t.Errorf("change %d: o=%s after o=%s", i, originOf(o), originOf(first))
		}
		if unsent, err := s.Offer(l); err != nil || !bytes.Equal(unsent, o) {
			t.Error("an offer that nobody took counts")
		}
		role, _, changed, err := s.Conclude(l, o, offer(message("7000", types, "a=setup:passive", path)...))
		if err != nil || changed.Path != (i < 2) || role.Dial != "192.0.2.7:7000" {
			t.Errorf("change %d: %+v, %+v, %v", i, role, changed, err)
		}
	}
	// The peer moves in its answer to a refresh: a new connection, though our side stays.
	l := s.Local()
	o, _ := s.Offer(l)
	role, m, changed, err := s.Conclude(l, o, offer(message("7001", types, "a=setup:active", strings.Replace(path, "7000/s1", "7001/s2", 1))...))
	if err != nil || changed != (msrpsdp.Change{Path: true}) || role.Active || role.Remote[0].SessionID != "s2" || m.Port != 7001 || s.Media().Port != 7001 || s.Role().Remote[0].SessionID != "s2" {
		t.Errorf("%+v, %+v, %v", role, changed, err)
	}
	// A refusal leaves everything as it is.
	if _, _, _, err := s.Conclude(l, o, offer(message("0", types, path)...)); !errors.Is(err, msrpsdp.ErrNotAcceptable) || s.Media().Port != 7001 {
		t.Errorf("%v, %+v", err, s.Media())
	}
}

// B4.16: RFC 4975 §8.4: a refresh of the peer's gets the answer of before and leaves the connection alone, whoever made it; a new path
// gets a new role.
func TestReoffersAreAnswered(t *testing.T) {
	for _, active := range []bool{false, true} {
		prefer := map[bool]msrpsdp.Setup{false: msrpsdp.Passive, true: msrpsdp.Active}[active]
		l, lines := us(), message("7000", types, "a=setup:actpass", path)
		first, role, err := msrpsdp.Answer(offer(lines...), l, prefer)
		if err != nil || role.Active != active {
			t.Fatal(role, err)
		}
		s, err := msrpsdp.Stand(l, first, offer(lines...), role)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			again, same, change, err := s.Answer(offer(lines...), s.Local(), msrpsdp.ActPass)
			if err != nil || !bytes.Equal(again, first) || change != (msrpsdp.Change{}) || same.Active != active || same.Dial != role.Dial {
				t.Errorf("a refresh: %+v, %+v, %v\n%s\n%s", same, change, err, first, again)
			}
		}
		moved := offer(message("7001", types, "a=setup:actpass", strings.Replace(path, "7000/s1", "7001/s2", 1))...)
		change, err := s.Change(moved)
		if err != nil || change != (msrpsdp.Change{Path: true}) {
			t.Errorf("%+v, %v", change, err)
		}
		l = s.Local()
		l.URI.SessionID = "anew"
		answer, role, change, err := s.Answer(moved, l, map[bool]msrpsdp.Setup{false: msrpsdp.Active, true: msrpsdp.Passive}[active])
		n, origin := version(t, first)
		m, rest := version(t, answer)
		if err != nil || !change.Path || role.Active == active || m != n+1 || rest != origin || role.Remote[0].SessionID != "s2" || !active && role.Dial != "192.0.2.7:7001" {
			t.Errorf("%+v, %+v, %v\n%s", role, change, err, answer)
		}
		if again, _, _, err := s.Answer(moved, s.Local(), ""); err != nil || !bytes.Equal(again, answer) {
			t.Errorf("%v\n%s\n%s", err, answer, again)
		}
		// What can't be taken changes nothing.
		if _, _, _, err := s.Answer(offer("m=audio 1 RTP/AVP 0"), s.Local(), ""); !errors.Is(err, msrpsdp.ErrNotAcceptable) || s.Media().Port != 7001 {
			t.Errorf("%v, %+v", err, s.Media())
		}
	}
}

// A refresh from the one who was called: our offer becomes an answer, so a=setup changes, the roles don't.
func TestRefreshOfOurOfferKeepsTheRoles(t *testing.T) {
	s, first := called(t)
	refresh := offer(message("7000", types, "a=setup:actpass", path)...)
	answer, role, change, err := s.Answer(refresh, s.Local(), msrpsdp.Passive)
	n, _ := version(t, first)
	if m, _ := version(t, answer); err != nil || change != (msrpsdp.Change{}) || !role.Active || role.Dial != "192.0.2.7:7000" || attributes(t, answer, 0)["setup"] != "active" || m != n+1 {
		t.Errorf("%+v, %+v, %v\n%s", role, change, err, answer)
	}
	if again, _, _, err := s.Answer(refresh, s.Local(), ""); err != nil || !bytes.Equal(again, answer) {
		t.Errorf("%v\n%s\n%s", err, answer, again)
	}
}

// RFC 3264 §8: media never go. Those beside ours stay refused, at their place.
func TestReofferKeepsOtherMedia(t *testing.T) {
	l, o := us(), offer(append([]string{"m=audio 7100 RTP/AVP 0"}, append(message("7000", types, "a=setup:active", path), "m=video 7200 RTP/AVP 31")...)...)
	answer, role, err := msrpsdp.Answer(o, l, "")
	if err != nil {
		t.Fatal(err)
	}
	s, err := msrpsdp.Stand(l, answer, o, role)
	if err != nil {
		t.Fatal(err)
	}
	l.URI.SessionID = "anew"
	re, err := s.Offer(l)
	if err != nil {
		t.Fatal(err)
	}
	var media []string
	for line := range strings.SplitSeq(string(re), "\r\n") {
		if strings.HasPrefix(line, "m=") {
			media = append(media, line)
		}
	}
	if want := []string{"m=audio 0 RTP/AVP 0", "m=message 2855 TCP/MSRP *", "m=video 0 RTP/AVP 31"}; fmt.Sprint(media) != fmt.Sprint(want) || !strings.Contains(string(re), "/anew;tcp") {
		t.Errorf("%q, want %q", media, want)
	}
}

// B3.12: RFC 5547 §8.1 and §8.4 in a dialog: refresh, another transfer, the wrong file, abort.
func TestTransfersAreKeptApart(t *testing.T) {
	push := func(port, selector, id string) []byte {
		return offer(message(port, types, "a=setup:active", path, "a=sendonly", "a=file-selector:"+selector, "a=file-transfer-id:"+id)...)
	}
	l := us()
	l.File = &msrpsdp.File{}
	first := push("7000", "size:7", "t1")
	answer, role, err := msrpsdp.Answer(first, l, "")
	if err != nil {
		t.Fatal(err)
	}
	s, err := msrpsdp.Stand(l, answer, first, role)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		offer  []byte
		want   msrpsdp.Change
		answer string // m= and the file's lines
	}{
		{"a refresh", first, msrpsdp.Change{}, "m=message 2855 selector:size:7 transfer-id:t1"},
		{"once more, from the start", push("7000", "size:7", "t2"), msrpsdp.Change{Transfer: true}, "m=message 2855 selector:size:7 transfer-id:t2"},
		{"another file by the same id", push("7000", "size:8", "t2"), msrpsdp.Change{WrongFile: true}, "m=message 0 selector:size:8 transfer-id:t2"},
		{"another file", push("7000", "size:9", "t3"), msrpsdp.Change{Transfer: true}, "m=message 2855 selector:size:9 transfer-id:t3"},
		{"an id of before", push("7000", "size:7", "t1"), msrpsdp.Change{}, "m=message 2855 selector:size:7 transfer-id:t1"},
		{"abort", push("0", "size:7", "t1"), msrpsdp.Change{Off: true}, "m=message 0 selector:size:7 transfer-id:t1"},
		{"abort, repeated", push("0", "size:7", "t1"), msrpsdp.Change{}, "m=message 0 selector:size:7 transfer-id:t1"},
	} {
		a, _, change, err := s.Answer(c.offer, l, "")
		if err != nil || change != c.want {
			t.Errorf("%s: %+v, %v, want %+v", c.name, change, err, c.want)
			continue
		}
		_, m, _ := strings.Cut(string(a), "\r\nm=message ")
		port, _, _ := strings.Cut(m, " ")
		if got := "m=message " + port + " " + strings.ReplaceAll(files(t, a), "\n", " "); got != c.answer {
			t.Errorf("%s is answered\n%s\nwant\n%s", c.name, got, c.answer)
		}
	}
	// Our own abort: §8.4, the id stays.
	l = us()
	l.Direction, l.File = "sendonly", &msrpsdp.File{Size: 7, TransferID: "t1"}
	o, err := msrpsdp.Offer(l)
	if err != nil {
		t.Fatal(err)
	}
	if s, err = msrpsdp.Stand(l, o, offer(message("7000", types, "a=setup:active", path, "a=recvonly", "a=file-selector:size:7", "a=file-transfer-id:t1")...), msrpsdp.Role{}); err != nil {
		t.Fatal(err)
	}
	off, err := s.Off()
	n, _ := version(t, o)
	if m, _ := version(t, off); err != nil || m != n+1 || !strings.Contains(string(off), "m=message 0 TCP/MSRP *") || files(t, off) != "selector:size:7\ntransfer-id:t1" {
		t.Errorf("%v\n%s", err, off)
	}
}

// FuzzReoffer: no panic; an answered re-offer asked again is a refresh with the same answer; o= never counts backwards.
func FuzzReoffer(f *testing.F) {
	f.Add(offer(message("7000", types, "a=setup:passive", path)...))
	f.Add(offer(message("7001", types, "a=setup:actpass", strings.Replace(path, "7000/s1", "7001/s2", 1), "a=inactive")...))
	f.Add(offer(append([]string{"m=audio 1 RTP/AVP 0"}, message("0", types, path)...)...))
	f.Add(offer(message("7000", types, path, "a=sendonly", "a=file-selector:size:7", "a=file-transfer-id:t1")...))
	f.Fuzz(func(t *testing.T, in []byte) {
		s, first := called(t)
		l := s.Local()
		if m, err := msrpsdp.Parse(in); err == nil && m.File != nil && m.File.Selects() {
			l.File = &msrpsdp.File{Name: m.File.Name, Size: m.File.Size}
		}
		answer, _, _, err := s.Answer(in, l, msrpsdp.Active)
		if err != nil {
			return
		}
		n, _ := version(t, first)
		if m, _ := version(t, answer); m != n && m != n+1 {
			t.Fatalf("o=%s after o=%s", originOf(answer), originOf(first))
		}
		again, _, change, err := s.Answer(in, l, msrpsdp.Passive)
		if err != nil || !bytes.Equal(answer, again) && !change.WrongFile || change.Path || change.Transfer || change.Terms {
			t.Fatalf("%+v, %v\n%s\n%s", change, err, answer, again)
		}
	})
}
