package msrp_test

import (
	"crypto/sha1"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"latchkey/msrp"
)

// spelled writes a fingerprint without the package's help.
func spelled(name string, sum []byte) string {
	return name + " " + strings.ToUpper(strings.ReplaceAll(fmt.Sprintf("% x", sum), " ", ":"))
}

func parse(t *testing.T, s string) msrp.Fingerprint {
	t.Helper()
	f, err := msrp.ParseFingerprint(s)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// B4.22, RFC 8122 §5: SHA-256 is written, SHA-1 is read since rcsjta sends it.
func TestFingerprintsAreThoseOfTheCertificate(t *testing.T) {
	cert, _ := certificate(t)
	der := cert.Certificate[0]
	sha256Sum, sha1Sum := sha256.Sum256(der), sha1.Sum(der)
	if got, want := msrp.FingerprintOf(cert).String(), spelled("SHA-256", sha256Sum[:]); got != want {
		t.Errorf("FingerprintOf = %s, want %s", got, want)
	}
	for _, s := range []string{spelled("SHA-256", sha256Sum[:]), spelled("SHA-1", sha1Sum[:]), strings.ToLower(spelled("sha-256", sha256Sum[:])), " " + spelled("Sha-256", sha256Sum[:]) + " "} {
		f := parse(t, s)
		if !f.Matches(der) || f.IsZero() || f.String() != strings.ToUpper(strings.TrimSpace(s)) {
			t.Errorf("%q is read as %q, matches: %v", s, f, f.Matches(der))
		}
		if f.Matches(der[:len(der)-1]) || f.Matches(nil) {
			t.Errorf("%s matches another certificate", s)
		}
		last := "0"
		if strings.HasSuffix(strings.TrimSpace(s), "0") {
			last = "1"
		}
		if s = strings.TrimSpace(s); parse(t, s[:len(s)-1]+last).Matches(der) {
			t.Errorf("another fingerprint than %s matches", s)
		}
	}
	if f := parse(t, spelled("SHA-512", make([]byte, 64))); f.Matches(der) {
		t.Error("SHA-512 of zeroes matches")
	}
	if z := (msrp.Fingerprint{}); !z.IsZero() || z.String() != "" || z.Matches(der) || z.Matches(nil) || msrp.FingerprintOf(tls.Certificate{}) != z {
		t.Error("the zero fingerprint is of something")
	}
}

func TestFingerprintsThatAreNoneAreErrors(t *testing.T) {
	good := spelled("SHA-1", make([]byte, 20))
	for _, s := range []string{
		"", "SHA-256", "SHA-256 ", "SHA-1 AB", "MD5 " + good[6:53], "SHA-1" + good[6:], "SHA-2561 " + good[6:], good + ":00", good[:len(good)-1],
		strings.Replace(good, "00:", "0G:", 1), strings.Replace(good, "00:", "00-", 1), strings.ReplaceAll(good, ":", ""), spelled("SHA-256", make([]byte, 20)), spelled("SHA-1", make([]byte, 32)),
	} {
		if f, err := msrp.ParseFingerprint(s); err == nil || !f.IsZero() {
			t.Errorf("%q is read as %s", s, f)
		}
	}
}

// RFC 8122 §5.1: those of the best algorithm count, each for a certificate of its own.
func TestBestFingerprintsCount(t *testing.T) {
	f := func(name string, size int, fill byte) msrp.Fingerprint {
		return parse(t, spelled(name, []byte(strings.Repeat(string(rune(fill)), size))))
	}
	sha1, sha256, other, sha512 := f("SHA-1", 20, 1), f("SHA-256", 32, 2), f("SHA-256", 32, 3), f("SHA-512", 64, 4)
	for _, c := range []struct{ in, want []msrp.Fingerprint }{
		{nil, nil},
		{[]msrp.Fingerprint{{}}, nil},
		{[]msrp.Fingerprint{sha1}, []msrp.Fingerprint{sha1}},
		{[]msrp.Fingerprint{sha1, sha256, {}, other}, []msrp.Fingerprint{sha256, other}},
		{[]msrp.Fingerprint{sha256, sha512, sha1}, []msrp.Fingerprint{sha512}},
	} {
		if got := msrp.Preferred(c.in); !slices.Equal(got, c.want) {
			t.Errorf("Preferred(%s) = %s, want %s", c.in, got, c.want)
		}
	}
}

func TestSelfSignedCertificatesAreGoodForTLS(t *testing.T) {
	cert, err := msrp.SelfSigned("msrp.example", "192.0.2.1", "[2001:db8::1]")
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	if c.VerifyHostname("msrp.example") != nil || c.VerifyHostname("[2001:db8::1]") != nil || c.VerifyHostname("192.0.2.1") != nil || c.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature) != nil {
		t.Errorf("names %q %v", c.DNSNames, c.IPAddresses)
	}
	if now := time.Now(); now.Before(c.NotBefore) || now.AddDate(1, 0, 0).After(c.NotAfter) {
		t.Errorf("good from %s to %s", c.NotBefore, c.NotAfter)
	}
	other, err := msrp.SelfSigned()
	if err != nil || msrp.FingerprintOf(other) == msrp.FingerprintOf(cert) {
		t.Errorf("two certificates are one, %v", err)
	}
	if net.ParseIP("192.0.2.1").String() != c.IPAddresses[0].String() {
		t.Errorf("addresses %v", c.IPAddresses)
	}
}

// FuzzParseFingerprint: no panic; what is read is written, and read again as the same.
func FuzzParseFingerprint(f *testing.F) {
	f.Add(spelled("SHA-256", make([]byte, 32)))
	f.Add(strings.ToLower(spelled("sha-1", make([]byte, 20))))
	f.Add("MD5 AB:CD")
	f.Fuzz(func(t *testing.T, in string) {
		got, err := msrp.ParseFingerprint(in)
		if err != nil {
			if !got.IsZero() {
				t.Fatalf("%q: %v and %s", in, err, got)
			}
			return
		}
		if again, err := msrp.ParseFingerprint(got.String()); err != nil || again != got {
			t.Fatalf("%q is written as %s and read as %s, %v", in, got, again, err)
		}
	})
}
