package registrar

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"latchkey"
)

func TestEphemeralCredentialsAreAsAuthEphemeralExpects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		auth, err := ParseAuth("ephemeral:top:secret")
		if err != nil {
			t.Fatal(err)
		}
		// The bubble's clock starts at 2000-01-01T00:00:00Z = 946684800.
		got := auth.Credentials("sip:b_at_cc.com@guest.example")
		if want := "946685400:b_at_cc.com@guest.example"; got.Username != want {
			t.Errorf("user name %s, want %s", got.Username, want)
		}
		// printf %s 946685400:b_at_cc.com@guest.example | openssl dgst -sha1 -hmac top:secret -binary | base64
		if want := "sdbyxAjIj2f6FSt6/ZTMNecb35s="; got.Password != want {
			t.Errorf("password %s, want %s", got.Password, want)
		}
		time.Sleep(time.Second)
		if again := auth.Credentials("sip:b_at_cc.com@guest.example"); again == got {
			t.Error("credentials are not made fresh")
		}
	})
}

// What an account answers with is what a phone's name is held against, until it is over.
func TestLimitedNamesEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		auth, err := ParseAuth("ephemeral:top:secret")
		if err != nil {
			t.Fatal(err)
		}
		shared, err := ParseAuth("shared:top:secret")
		if err != nil {
			t.Fatal(err)
		}
		c := auth.Credentials("sip:a@cc.com")
		time.Sleep(ephemeralLife)
		if who, password, ok := auth.Limited(c.Username, time.Now()); !ok || who != "a@cc.com" || password.Reveal() != c.Password {
			t.Errorf("Limited(%s) = %s %s %v", c.Username, who, password.Reveal(), ok)
		}
		if _, _, ok := shared.Limited(c.Username, time.Now()); ok {
			t.Error("a shared secret makes limited names")
		}
		time.Sleep(time.Second)
		for _, name := range []string{c.Username, "a@cc.com", "sip:a@cc.com", "99999999999999999999:a@cc.com", "9999999999:", ":a@cc.com", "", "-9999999999:a@cc.com"} {
			if who, _, ok := auth.Limited(name, time.Now()); ok {
				t.Errorf("Limited(%s) = %s", name, who)
			}
		}
	})
}

func TestSharedCredentialsAreTheAccountAndTheSecret(t *testing.T) {
	auth, err := ParseAuth("shared:s3cret")
	if err != nil {
		t.Fatal(err)
	}
	got := auth.Credentials("sip:+8613800000000@guest.example")
	if got.Username != "+8613800000000@guest.example" || got.Password != "s3cret" {
		t.Errorf("credentials %v", got)
	}
	if s := fmt.Sprintf("%v %+v", auth, auth); strings.Contains(s, "s3cret") {
		t.Errorf("%s shows the secret", s)
	}
}

func TestAuthIsOneOfFour(t *testing.T) {
	for _, s := range []string{"shared", "shared:", "ephemeral:", "digest:x", "x"} {
		if _, err := ParseAuth(s); err == nil {
			t.Errorf("ParseAuth(%q) = nil, want an error", s)
		}
	}
	auth, err := ParseAuth("none")
	if got := auth.Credentials("sip:b@x.example"); err != nil || got.Username != "" || got.Password != "" {
		t.Errorf("none gives %v, %v", got, err)
	}
}

// R21: under directory each account has its own password; one that has none is not proven.
func TestAccountsOfTheDirectoryHaveTheirOwnPasswords(t *testing.T) {
	auth, err := ParseAuth("directory")
	if err != nil || auth.String() != "directory" || auth.Credentials("sip:x1@guest.example").Username != "" {
		t.Fatalf("ParseAuth = %v, %v, want one that proves nobody yet", auth, err)
	}
	auth = auth.From(func(account latchkey.AccountID) latchkey.Secret {
		return map[latchkey.AccountID]latchkey.Secret{"sip:x1@guest.example": "hush"}[account]
	})
	if got := auth.Credentials("sip:x1@guest.example"); got.Username != "x1@guest.example" || got.Password != "hush" {
		t.Errorf("credentials %v", got)
	}
	if got := auth.Credentials("sip:x2@guest.example"); got.Username != "" || got.Password != "" {
		t.Errorf("credentials without a password: %v", got)
	}
}
