package gateway_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"latchkey/gateway/gatewaytest"
	"latchkey/imstest"
)

// calling is a plan of a gateway that may call the browsers of s.
func calling(t *testing.T, s *imstest.PushService, more ...string) gatewaytest.Plan {
	t.Helper()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, s.CA, 0o600); err != nil {
		t.Fatal(err)
	}
	return gatewaytest.Plan{Args: append([]string{"--push-ca=" + ca, "--push-peers=127.0.0.0/8"}, more...)}
}

// X5, X4, F56: a guest whose page is closed is called with who wrote, by a message as by a file, and learns the rest from the stream; who listens isn't
// called. The key outlives a restart, and the browser is forgotten when the guest leaves.
func TestGuestWhoIsAwayIsCalled(t *testing.T) {
	t.Parallel()
	s := imstest.NewPushService(t)
	w := gatewaytest.New(t, calling(t, s))
	a := w.Phone(gatewaytest.Alice, imstest.Manner{Tags: imstest.FileTags})
	b := w.FileGuest()
	b.Login().Wants(200)
	browser := s.Browser()
	var key, subscribed struct{ Key, ID string }
	b.Do("GET", "/rcsgw/invitee/push", "").Wants(200).Into(&key)
	b.Do("POST", "/rcsgw/invitee/push", browser.Body()).Wants(201).Into(&subscribed)
	write := func(text string) {
		t.Helper()
		if _, err := a.Send(w.Within(gatewaytest.Patience), b.Account, text); err != nil {
			t.Fatal(err)
		}
	}
	write("knock knock")
	s.Wait(1)
	if _, err := a.SendFile(w.Within(gatewaytest.Patience), b.Account, imstest.FileOffer{Name: "in.txt", Type: "text/plain", Body: strings.NewReader("12345"), Size: 5}); err != nil {
		t.Fatal(err)
	}
	for _, call := range s.Read(s.Wait(2)) {
		if got := call.Word; len(got) != 3 || got["account"] != b.Account || got["uri"] != gatewaytest.Alice || got["name"] != "Alice" {
			t.Errorf("the call says %v", got)
		}
		if call.Claims.Key != key.Key || call.Claims.Sub != "mailto:invitations@latchkey.example" || call.Claims.Aud != s.URL {
			t.Errorf("signed is %+v, want by %s", call.Claims, key.Key)
		}
	}
	b.Message("knock knock")

	stream := b.Stream()
	write("you are here")
	stream.Until("you are here")
	b.Message("you are here") // acknowledges
	w.Stop()
	w.Start()
	if err := a.Register(w.Within(gatewaytest.Patience)); err != nil {
		t.Fatal(err)
	}
	write("after the restart")
	calls := s.Read(s.Wait(3))
	if len(calls) != 3 || calls[2].Claims.Key != key.Key {
		t.Errorf("%d calls, the last signed by %s", len(calls), calls[2].Claims.Key)
	}
	if strings.Contains(w.Log.String(), browser.Auth) || strings.Contains(w.Log.String(), strings.TrimPrefix(browser.Endpoint, s.URL)) {
		t.Error("the log has the browser's secrets")
	}
	b.Do("DELETE", b.SessionPath(), "").Wants(204)
	b.Do("GET", "/rcsgw/invitee/push", "").Wants(401)
	w.InviteAs(gatewaytest.Alice).Wants(201)
	b = w.Invited(2)
	b.Login().Wants(200)
	b.Do("DELETE", "/rcsgw/invitee/push/"+subscribed.ID, "").Wants(404)
}

// X5: the operator says how much is told, whose key signs, and that nobody is called.
func TestOperatorSaysWhatIsTold(t *testing.T) {
	t.Parallel()
	t.Run("text", func(t *testing.T) {
		t.Parallel()
		s := imstest.NewPushService(t)
		key := filepath.Join(t.TempDir(), "key")
		if err := os.WriteFile(key, []byte("q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		w := gatewaytest.New(t, calling(t, s, "--push=text", "--push-key=@"+key, "--push-contact=https://example.com/contact"))
		a := w.Phone(gatewaytest.Alice, imstest.Manner{})
		b := w.Guest()
		b.Login().Wants(200)
		b.Do("POST", "/rcsgw/invitee/push", s.Browser().Body()).Wants(201)
		if _, err := a.Send(w.Within(gatewaytest.Patience), b.Account, "knock knock"); err != nil {
			t.Fatal(err)
		}
		got := s.Read(s.Wait(1))[0]
		if got.Word["text"] != "knock knock" || got.Claims.Sub != "https://example.com/contact" || got.Claims.Key != "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4" {
			t.Errorf("told is %v, signed %+v", got.Word, got.Claims)
		}
	})
	t.Run("off", func(t *testing.T) {
		t.Parallel()
		w := gatewaytest.New(t, gatewaytest.Plan{Args: []string{"--push=off"}})
		a := w.Phone(gatewaytest.Alice, imstest.Manner{})
		b := w.Guest()
		b.Login().Wants(200)
		b.Do("GET", "/rcsgw/invitee/push", "").Wants(404)
		if _, err := a.Send(w.Within(gatewaytest.Patience), b.Account, "knock knock"); err != nil {
			t.Fatal(err)
		}
		b.Message("knock knock")
	})
}
