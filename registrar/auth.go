package registrar

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"strconv"
	"strings"
	"time"

	"latchkey"
	"latchkey/internal/sipua"
)

// ephemeralLife is how long a time-limited name is good for. It is made fresh for each
// request, so it covers one exchange and the difference of two clocks.
const ephemeralLife = 10 * time.Minute

// Auth is how accounts prove themselves to the core and the interaction servers. The
// zero value is none: a challenge is final.
type Auth struct {
	secret    latchkey.Secret
	ephemeral bool
	own       bool // each account has a password of its own
	passwords func(latchkey.AccountID) latchkey.Secret
}

// From gives an Auth of the kind directory its passwords; others don't need any. Without it, a challenge is final.
func (a Auth) From(passwords func(latchkey.AccountID) latchkey.Secret) Auth {
	a.passwords = passwords
	return a
}

// ParseAuth reads none, shared:SECRET, ephemeral:SECRET or directory.
func ParseAuth(s string) (Auth, error) {
	mode, secret, _ := strings.Cut(s, ":")
	switch {
	case s == "none" || s == "":
		return Auth{}, nil
	case s == "directory":
		return Auth{own: true}, nil
	case mode == "shared" && secret != "":
		return Auth{secret: latchkey.Secret(secret)}, nil
	case mode == "ephemeral" && secret != "":
		return Auth{secret: latchkey.Secret(secret), ephemeral: true}, nil
	}
	return Auth{}, errors.New("sip-auth: must be none, shared:SECRET, ephemeral:SECRET or directory") // s may hold a secret
}

// String is the kind of authentication; the secret stays inside.
func (a Auth) String() string {
	switch {
	case a.own:
		return "directory"
	case a.secret == "":
		return "none"
	case a.ephemeral:
		return "ephemeral"
	}
	return "shared"
}

// Credentials are what the account answers a challenge with, now. The name is the
// account without its scheme, the form of a private identity (TS 23.003 §13.3 (unverified)).
func (a Auth) Credentials(account latchkey.AccountID) sipua.Credentials {
	secret := a.secret
	if a.own && a.passwords != nil {
		secret = a.passwords(account)
	}
	if secret == "" {
		return sipua.Credentials{}
	}
	_, name, _ := strings.Cut(string(account), ":")
	if !a.ephemeral {
		return sipua.Credentials{Username: name, Password: secret.Reveal()}
	}
	// draft-uberti-behave-turn-rest-00 §2.2: the name begins with the time when it ends,
	// the password is its HMAC. Kamailio's auth_ephemeral checks both.
	name = strconv.FormatInt(time.Now().Add(ephemeralLife).Unix(), 10) + ":" + name
	return sipua.Credentials{Username: name, Password: a.limited(name).Reveal()}
}

// Limited is the password of a time-limited name that somebody shows us, and whose name it is: the rest of it. False: the name is over, or is none, or
// Auth is of another kind.
func (a Auth) Limited(name string, now time.Time) (who string, password latchkey.Secret, ok bool) {
	end, who, ok := strings.Cut(name, ":")
	at, err := strconv.ParseInt(end, 10, 64)
	if !a.ephemeral || !ok || who == "" || err != nil || now.Unix() > at {
		return "", "", false
	}
	return who, a.limited(name), true
}

func (a Auth) limited(name string) latchkey.Secret {
	mac := hmac.New(sha1.New, []byte(a.secret.Reveal()))
	mac.Write([]byte(name))
	return latchkey.Secret(base64.StdEncoding.EncodeToString(mac.Sum(nil)))
}
