package scenarios

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"latchkey"
	"latchkey/directory"
	"latchkey/imstest"
)

// R14, B2.13, B3.09, B3.14: in mode pager all goes by MESSAGE through Kamailio, texts and notifications, both ways.
func TestPagerModeThroughKamailio(t *testing.T) {
	for name, defines := range map[string][]string{"open": nil, "challenged": {`AUTH_SHARED="s3cret"`, "AUTH_CALLS"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			auth := "none"
			if defines != nil {
				auth = "shared:s3cret"
			}
			w := newWorldWith(t, auth, []string{"--interaction-mode", "pager"}, defines...)
			a := newPhone(t, w.core, "a")
			a.register()
			atRest := a.rest("message-uas.xml")
			account, password, _ := w.invited()
			b := w.login(account, password)

			id := b.send("abcdefg")
			atRest.await("\r\nabcdefg")
			if n := atRest.requests("MESSAGE", "imdn.Message-ID: "+id); n != 1 {
				t.Errorf("the message came %d times under its id", n)
			}
			newPhone(t, w.core, "a").start("message-imdn.xml", "called", bobAOR, "message_id", id).wait()
			b.delivery(id, "delivered")

			newPhone(t, w.core, "a").start("message-uac.xml", "called", bobAOR, "message_id", "from-a", "text", "hijklmn", "length", fmt.Sprint(len("hijklmn"))).wait()
			e := b.message("hijklmn")
			if status, text := b.do("POST", "/rcsgw/invitee/read", map[string]any{"id": e.Message.ID}, nil); status != http.StatusNoContent {
				t.Errorf("POST read = %d %s", status, text)
			}
			atRest.await("<message-id>from-a</message-id>")
			atRest.await("<display-notification>")
			if n := atRest.count("\nINVITE sip:"); n != 0 {
				t.Errorf("%d INVITEs reached A's phone", n)
			}
			atRest.end()
		})
	}
}

// R1, R8, R12: A's stock phone writes to somebody who isn't registered, by MESSAGE and by INVITE with MSRP; Kamailio knows nobody of that name and leaves
// it to the gateway. The invitation goes out, A is told, and what A wrote is there after the login.
func TestStockPhoneInvitesThroughKamailio(t *testing.T) {
	t.Run("MESSAGE", func(t *testing.T) {
		t.Parallel()
		w := newWorldWith(t, "none", nil)
		a := newPhone(t, w.core, "a")
		a.register()
		atRest := a.rest("message-uas.xml")
		newPhone(t, w.core, "a").start("message-uac.xml", "called", "b%40cc.com@guest.example", "message_id", "m1", "text", "by page", "length", fmt.Sprint(len("by page"))).wait()
		atRest.await("An invitation is on its way")
		b := w.follow()
		b.message("by page")
		b.read(0)                                   // acknowledges it
		atRest.await("<message-id>m1</message-id>") // B5.07: the receipt comes by MESSAGE
		atRest.end()
	})
	t.Run("INVITE", func(t *testing.T) {
		t.Parallel()
		w := newWorldWith(t, "none", nil)
		newPhone(t, w.core, "a").register()
		phone := newMedia(t)
		call := newPhone(t, w.core, "a").start("invite-uac-stays.xml", append(describe(phone, "active"), "called", bobAOR)...)
		if err := phone.Connect(call.remotePath(phone)); err != nil {
			t.Fatalf("A's connection: %v", err)
		}
		if _, err := phone.Send(bounded(t), "in the chat"); err != nil {
			t.Fatalf("A's SEND: %v", err)
		}
		if told, err := phone.Wait(bounded(t), "message", 1); err != nil || !strings.Contains(told[0].Text, "An invitation is on its way") || told[0].Wants != "" {
			t.Errorf("A was told %+v, %v", told, err)
		}
		b := w.follow()
		b.message("in the chat")
		id := b.send("opqrstu") // on A's own call
		if got, err := phone.Wait(bounded(t), "message", 2); err != nil || got[1].ID != id {
			t.Errorf("A's phone has %+v, %v", got, err)
		}
		if status, text := b.do("DELETE", sessionPath(string(bob)), nil, nil); status != http.StatusNoContent {
			t.Errorf("logout = %d %s", status, text)
		}
		call.wait()
	})
}

// follow is the guest who has followed the mail's link and logged in.
func (w *world) follow() *client {
	w.t.Helper()
	link, err := url.Parse(linkIn(w.mail.wait().Text))
	if err != nil {
		w.t.Fatal(err)
	}
	return w.login(strings.TrimPrefix(link.Path, "/rcsgw/invitee/session/"), link.Query().Get("passwd"))
}

// R14: `latchkey serve` beside a plain IM server, which SIPp plays, and no core: the account is registered there, and all is MESSAGE.
func TestServeWithAPlainIMServer(t *testing.T) {
	t.Parallel()
	need(t, "sipp", "apt-get install sip-tester")
	mail := startMailbox(t)
	server := newPhone(t, &core{t: t, port: freePort(t)}, "im")
	server.more = []string{"-deadcall_wait", "0"} // REGISTERs of an account have one Call-ID
	im := server.rest("im-server.xml")
	dir := t.TempDir()
	hash, err := directory.HashPassword("wonderland")
	if err != nil {
		t.Fatal(err)
	}
	users := fmt.Sprintf("users:\n  - {uri: %q, uid: \"1\", name: Alice, level: 3, state: active, password: %q}\n", alice, hash)
	if err := os.WriteFile(filepath.Join(dir, "users.yaml"), []byte(users), 0o600); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "latchkey")
	if out, err := exec.Command("go", "build", "-o", program, "latchkey/cmd/latchkey").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	web, sip, log := freePort(t), freePort(t), &output{}
	cmd := exec.Command(program, "serve", "--interaction-mode=pager", fmt.Sprintf("--sip-core=sip:127.0.0.1:%d", server.port),
		fmt.Sprintf("--sip-listen=udp:127.0.0.1:%d", sip), fmt.Sprintf("--http-listen=127.0.0.1:%d", web), "--admin-listen=127.0.0.1:0", "--msrp-listen=tcp:127.0.0.1:0",
		"--data="+filepath.Join(dir, "latchkey.db"), "--directory=file:"+filepath.Join(dir, "users.yaml"), "--mail=smtp://"+mail.smtp, "--mail-from=invitations@cc.com")
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }() // ends with the process
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := <-ended; err != nil {
			t.Errorf("serve ended with %v", err)
		}
		im.end()
		if t.Failed() {
			t.Logf("serve said:\n%s", log)
		}
	})
	imstest.Eventually(t, patience, func() bool { return bytes.Contains([]byte(log.String()), []byte("msg=serving")) })
	person := func(user, password string) *client {
		jar, err := cookiejar.New(nil)
		if err != nil {
			t.Fatal(err)
		}
		return &client{t: t, base: fmt.Sprintf("http://127.0.0.1:%d", web), user: user, password: password, http: &http.Client{Jar: jar, Timeout: 2 * patience}}
	}
	if status, text := person(alice, "wonderland").do("POST", userPath, map[string]any{"email": "b@cc.com"}, nil); status != http.StatusCreated {
		t.Fatalf("invite = %d %s", status, text)
	}
	im.await("\nREGISTER sip:guest.example")
	link, err := url.Parse(linkIn(mail.wait().Text))
	if err != nil {
		t.Fatal(err)
	}
	b := person("", "")
	if status, text := b.do("POST", sessionPath(string(bob)), map[string]string{"passwd": link.Query().Get("passwd")}, nil); status != http.StatusOK {
		t.Fatalf("login = %d %s", status, text)
	}
	id := b.send("abcdefg")
	im.await("\r\nabcdefg")
	b.event("sent", func(e latchkey.Event) bool {
		return e.Type == latchkey.DeliveryEvent && string(e.Message.ID) == id && e.Message.State == latchkey.MessageSent
	})
	// The IM server passes on what Alice says.
	gateway := &core{t: t, port: sip}
	newPhone(t, gateway, "a").start("message-imdn.xml", "called", bobAOR, "message_id", id).wait()
	b.delivery(id, "delivered")
	newPhone(t, gateway, "a").start("message-uac.xml", "called", bobAOR, "message_id", "m1", "text", "hijklmn", "length", fmt.Sprint(len("hijklmn"))).wait()
	b.message("hijklmn")
	b.read(0)
	im.await("<message-id>m1</message-id>")
	if n := im.count("\nINVITE sip:"); n != 0 {
		t.Errorf("%d INVITEs", n)
	}
}
