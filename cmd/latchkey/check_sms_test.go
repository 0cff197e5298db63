package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"latchkey/gateway"
	"latchkey/imstest"
)

// The SMS centre is bound to once, and what is wrong there is said in words, without the password.
func TestCheckTriesTheSMSCentres(t *testing.T) {
	s, err := imstest.NewSMSC("")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	sms := &gateway.SMS{Centres: []gateway.Centre{{HostPort: s.Addr(), User: "me", Password: "hush"}}}
	if found, err := checkSMS(t.Context(), sms); err != nil || !strings.Contains(found, s.Addr()+" binds in") || len(s.Binds()) != 1 || s.Submissions() != 0 {
		t.Errorf("checkSMS = %q, %v", found, err)
	}
	s.Behave(imstest.SMSCManner{Refuse: 0x0e})
	sms.Centres = append(sms.Centres, gateway.Centre{HostPort: "127.0.0.1:1", User: "me", Password: "hush"})
	_, err = checkSMS(t.Context(), sms)
	if err == nil || !strings.Contains(err.Error(), "look at system-id and password (") || !strings.Contains(err.Error(), "127.0.0.1:1") || strings.ContainsAny(err.Error(), "\n") || strings.Contains(err.Error(), "hush") {
		t.Errorf("checkSMS = %v", err)
	}
}

func TestCheckTriesTheMMSCentre(t *testing.T) {
	code := 405
	m := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, password, _ := r.BasicAuth(); password != "hush" || r.Method != http.MethodOptions {
			t.Errorf("%s with password %q", r.Method, password)
		}
		w.WriteHeader(code)
	}))
	mms := &gateway.MMS{URL: m.URL, User: "me", Password: "hush"}
	for _, c := range []struct {
		code int
		well bool
	}{{405, true}, {200, true}, {401, false}, {404, false}, {503, false}} {
		code = c.code
		if found, err := checkMMS(t.Context(), mms); (err == nil) != c.well || err != nil && strings.Contains(err.Error(), "hush") {
			t.Errorf("%d: %q, %v", c.code, found, err)
		}
	}
	m.Close()
	if _, err := checkMMS(t.Context(), mms); err == nil || !strings.Contains(err.Error(), "can't be reached") {
		t.Errorf("checkMMS = %v", err)
	}
}
