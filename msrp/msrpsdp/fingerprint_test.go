package msrpsdp_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"latchkey/msrp"
	"latchkey/msrp/msrpsdp"
)

// spelled is a fingerprint as it stands in SDP: size times the same octet.
func spelled(name string, size int, octet byte) string {
	return name + strings.Replace(strings.Repeat(fmt.Sprintf(":%02X", octet), size), ":", " ", 1)
}

func print256(t *testing.T, octet byte) msrp.Fingerprint {
	t.Helper()
	f, err := msrp.ParseFingerprint(spelled("SHA-256", 32, octet))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func secured(port string, attributes ...string) []string {
	return append([]string{"m=message " + port + " TCP/TLS/MSRP *"}, attributes...)
}

const tlsPath = "a=path:msrps://192.0.2.7:7443/t1;tcp"

func usWithTLS(t *testing.T) msrpsdp.Local {
	l := us()
	l.TLS, l.URI.Secure, l.Fingerprint = true, true, print256(t, 0xEE)
	return l
}

// B4.22, F50: what is said and read about TLS in an answer to an offer, and in an offer's answer. In all rows the peer's fingerprints
// are the same in both roles.
func TestFingerprintsAreReadFromOffersAndAnswers(t *testing.T) {
	line := func(name string, size int, octet byte) string { return "a=fingerprint:" + spelled(name, size, octet) }
	for _, c := range []struct {
		name  string
		lines []string // of the peer's medium
		want  []string // its fingerprints; "-": it can't be taken
	}{
		{"SHA-256", []string{line("SHA-256", 32, 1)}, []string{spelled("SHA-256", 32, 1)}},
		{"SHA-1, as rcsjta sends", []string{line("SHA-1", 20, 1)}, []string{spelled("SHA-1", 20, 1)}},
		{"small letters", []string{strings.ToLower(line("SHA-256", 32, 0xAB))}, []string{spelled("SHA-256", 32, 0xAB)}},
		{"the best of several", []string{line("SHA-1", 20, 1), line("SHA-512", 64, 3), line("SHA-256", 32, 2)}, []string{spelled("SHA-512", 64, 3)}},
		{"several certificates", []string{line("SHA-256", 32, 2), line("SHA-1", 20, 2), line("SHA-256", 32, 1), line("SHA-1", 20, 1)}, []string{spelled("SHA-256", 32, 2), spelled("SHA-256", 32, 1)}},
		{"beside one that is not known", []string{"a=fingerprint:SHA3-256 AB:CD", line("SHA-256", 32, 1)}, []string{spelled("SHA-256", 32, 1)}},
		{"beside one that is broken", []string{"a=fingerprint:SHA-512 AB:CD", line("SHA-256", 32, 1)}, []string{spelled("SHA-256", 32, 1)}},
		{"none: the name counts (RFC 4975 §6)", nil, nil},
		{"MD5 alone (RFC 8122 §5 forbids it)", []string{line("MD5", 16, 1)}, []string{"-"}},
		{"not known alone", []string{"a=fingerprint:SHA3-256 AB:CD"}, []string{"-"}},
		{"broken alone", []string{"a=fingerprint:SHA-256 AB:CD"}, []string{"-"}},
		{"nothing alone", []string{"a=fingerprint:"}, []string{"-"}},
	} {
		peer := offer(secured("7443", append([]string{types, "a=setup:active", tlsPath}, c.lines...)...)...)
		answer, role, err := msrpsdp.Answer(peer, usWithTLS(t), "")
		own, oerr := msrpsdp.Offer(usWithTLS(t))
		if oerr != nil {
			t.Fatal(oerr)
		}
		concluded, m, cerr := msrpsdp.Conclude(own, peer)
		if slices.Equal(c.want, []string{"-"}) {
			if !errors.Is(err, msrpsdp.ErrNotAcceptable) || cerr == nil {
				t.Errorf("%s: Answer = %v, Conclude = %v", c.name, err, cerr)
			}
			continue
		}
		if err != nil || cerr != nil {
			t.Errorf("%s: Answer = %v, Conclude = %v", c.name, err, cerr)
			continue
		}
		for what, got := range map[string][]msrp.Fingerprint{"Answer": role.Peer.Fingerprints, "Conclude's role": concluded.Peer.Fingerprints, "Conclude": m.Fingerprints} {
			var texts []string
			for _, f := range got {
				texts = append(texts, f.String())
			}
			if !slices.Equal(texts, c.want) {
				t.Errorf("%s: %s has fingerprints %q, want %q", c.name, what, texts, c.want)
			}
		}
		if !role.Peer.TLS || role.Peer.Path[0].String() != "msrps://192.0.2.7:7443/t1;tcp" {
			t.Errorf("%s: role %+v", c.name, role)
		}
		for what, d := range map[string][]byte{"answer": answer, "offer": own} {
			a := attributes(t, d, 0)
			if a["fingerprint"] != spelled("SHA-256", 32, 0xEE) || a["path"] != "msrps://198.51.100.1:2855/ours;tcp" || !bytes.Contains(d, []byte("m=message 2855 TCP/TLS/MSRP *\r\n")) {
				t.Errorf("%s: our %s\n%s", c.name, what, d)
			}
		}
	}
}

// RFC 8122 §5: a fingerprint of the session holds for media that have none of their own. Without TLS, none counts.
func TestFingerprintsOfTheSessionHoldForItsMedia(t *testing.T) {
	session := "a=fingerprint:" + spelled("SHA-512", 64, 1)
	tls, plain := secured("7443", types, "a=setup:active", tlsPath), message("7000", types, "a=setup:active", path)
	for _, c := range []struct {
		name  string
		lines []string
		want  string
	}{
		{"session alone", append([]string{session}, tls...), spelled("SHA-512", 64, 1)},
		{"medium's own", append(append([]string{session}, tls...), "a=fingerprint:"+spelled("SHA-1", 20, 2)), spelled("SHA-1", 20, 2)},
		{"no TLS", append([]string{session}, plain...), ""},
		{"no TLS, broken", append([]string{"a=fingerprint:x"}, plain...), ""},
	} {
		m, err := msrpsdp.Parse(offer(c.lines...))
		got := ""
		for _, f := range m.Fingerprints {
			got += f.String()
		}
		if err != nil || got != c.want {
			t.Errorf("%s: %q, %v, want %q", c.name, got, err, c.want)
		}
	}
	if _, err := msrpsdp.Parse(offer(append([]string{"a=fingerprint:MD5 AB"}, tls...)...)); err == nil {
		t.Error("a session's fingerprint that can't be read is passed over")
	}
}

// F50, B4.22: who has TLS and who has not. 488 is ErrNotAcceptable of Answer; in an answer port 0 says the same.
func TestTransportsMeet(t *testing.T) {
	tls, plain := secured("7443", types, "a=setup:active", tlsPath), message("7000", types, "a=setup:active", path)
	for _, c := range []struct {
		name  string
		offer []string
		tls   bool   // ours
		want  string // m= lines of the answer; "": 488
	}{
		{"plain to plain", plain, false, "2855 TCP/MSRP"},
		{"TLS to TLS", tls, true, "2855 TCP/TLS/MSRP"},
		{"plain, we have TLS alone", plain, true, ""},
		{"TLS, we have none", tls, false, ""},
		{"both, we have none", append(slices.Clone(tls), plain...), false, "0 TCP/TLS/MSRP, 2855 TCP/MSRP"},
		{"both, we have TLS", append(slices.Clone(plain), tls...), true, "0 TCP/MSRP, 2855 TCP/TLS/MSRP"},
		{"msrps path without TLS in m= (RFC 4975 §6)", message("7443", types, "a=setup:active", tlsPath), false, ""},
		{"msrp path with TLS in m=", secured("7000", types, "a=setup:active", path), true, "2855 TCP/TLS/MSRP"},
	} {
		l := us()
		if c.tls {
			l = usWithTLS(t)
		}
		answer, role, err := msrpsdp.Answer(offer(c.offer...), l, "")
		if c.want == "" {
			if !errors.Is(err, msrpsdp.ErrNotAcceptable) {
				t.Errorf("%s: %+v, %v, want 488", c.name, role, err)
			}
			continue
		}
		var got []string
		for m := range strings.SplitSeq(string(answer), "\r\n") {
			if m, ok := strings.CutPrefix(m, "m=message "); ok {
				got = append(got, strings.TrimSuffix(m, " *"))
			}
		}
		if err != nil || strings.Join(got, ", ") != c.want || role.Peer.TLS != c.tls {
			t.Errorf("%s: %q, %+v, %v, want %s", c.name, got, role, err, c.want)
		}
	}
	// What comes back must have the transport that we offered.
	for _, c := range []struct {
		tls    bool
		answer []string
		ok     bool
	}{
		{false, plain, true}, {true, tls, true}, {false, tls, false}, {true, plain, false}, {true, secured("0", types, tlsPath), false}, {true, message("0", types, path), false},
	} {
		l := us()
		if c.tls {
			l = usWithTLS(t)
		}
		o, err := msrpsdp.Offer(l)
		if err != nil {
			t.Fatal(err)
		}
		if _, m, err := msrpsdp.Conclude(o, offer(c.answer...)); (err == nil) != c.ok || err != nil && !errors.Is(err, msrpsdp.ErrNotAcceptable) {
			t.Errorf("TLS offered: %v, answered %q: %+v, %v", c.tls, c.answer[0], m, err)
		}
	}
}
