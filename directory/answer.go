package directory

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"latchkey"
)

// parseUser reads a user as an HTTP directory describes one: the fields of the file without the password, by the
// same rules. Fields that are unknown are left alone, so that a directory may say more than is asked.
func parseUser(body []byte) (latchkey.Subscriber, error) {
	var v struct {
		URI, UID, Tel, Email, Name, State *string
		Level                             *json.Number
	}
	if err := readJSON(body, &v); err != nil {
		return latchkey.Subscriber{}, err
	}
	if v.URI == nil {
		return latchkey.Subscriber{}, errors.New("uri: is missing")
	}
	e := entry{Subscriber: latchkey.Subscriber{State: latchkey.Active}}
	for _, f := range []struct {
		name  string
		value *string
	}{{"uri", v.URI}, {"uid", v.UID}, {"tel", v.Tel}, {"email", v.Email}, {"name", v.Name}, {"level", (*string)(v.Level)}, {"state", v.State}} {
		if f.value == nil || *f.value == "" && f.name != "uri" {
			continue // "" says the same as nothing in the data of many
		}
		if err := e.set(f.name, *f.value); err != nil {
			return latchkey.Subscriber{}, fmt.Errorf("%s: %w", f.name, err)
		}
	}
	if e.Tel == "" {
		e.Tel = e.URI.Number() // as in the file
	}
	return e.Subscriber, nil
}

// parseAccount reads the answer to a request for an account.
func parseAccount(body []byte) (latchkey.AccountID, latchkey.Secret, error) {
	var v struct{ Account, Password string }
	if err := readJSON(body, &v); err != nil {
		return "", "", err
	}
	a, err := latchkey.ParseAddress(v.Account)
	if err != nil || a.Scheme() != "sip" || a.User() == "" || a.Port() != 0 {
		return "", "", errors.New("account: is not a SIP URI such as sip:g1@guest.example")
	}
	// An account's name is parsed again wherever it is used.
	if again, err := latchkey.ParseAddress(a.Identity()); err != nil || again.Identity() != a.Identity() {
		return "", "", errors.New("account: is a SIP URI that can't be used")
	}
	if len(v.Password) > maxPassword || !utf8.ValidString(v.Password) || strings.ContainsFunc(v.Password, unicode.IsControl) {
		return "", "", errors.New("password: is too long or has characters that no password has")
	}
	return latchkey.AccountID(a.Identity()), latchkey.Secret(v.Password), nil
}

// readJSON reads one object and nothing behind it. Its errors don't repeat the text, which may hold a password.
func readJSON(body []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(body))
	if !bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n"), []byte("{")) {
		return errors.New("the answer is not a JSON object")
	}
	if err := dec.Decode(v); err != nil {
		if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			return fmt.Errorf("%s: is not of the kind that is needed", strings.ToLower(wrong.Field))
		}
		return errors.New("the answer is not JSON")
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("the answer has more than one JSON value")
	}
	return nil
}

// freshFor is how long an answer may be kept: what Cache-Control says (RFC 9111 §5.2.2), less the Age that it has
// already, or usual; never more than most.
func freshFor(h http.Header, usual, most time.Duration) time.Duration {
	fresh := usual
	for _, directive := range strings.Split(strings.Join(h.Values("Cache-Control"), ","), ",") {
		name, value, _ := strings.Cut(strings.ToLower(strings.TrimSpace(directive)), "=")
		switch name {
		case "no-store", "no-cache":
			return 0
		case "max-age":
			n, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 31)
			if err != nil {
				return 0 // RFC 9111 §4.2.1: what can't be read counts as stale
			}
			age, _ := strconv.ParseUint(strings.TrimSpace(h.Get("Age")), 10, 31)
			fresh = time.Duration(n)*time.Second - time.Duration(age)*time.Second
		}
	}
	return max(0, min(fresh, most))
}

// retryAfter is what the answer asks for in seconds (RFC 9110 §10.2.3), up to a minute; 0: nothing.
func (r response) retryAfter() time.Duration {
	n, err := strconv.ParseUint(strings.TrimSpace(r.header.Get("Retry-After")), 10, 31)
	if err != nil {
		return 0
	}
	return min(time.Duration(n)*time.Second, time.Minute)
}
