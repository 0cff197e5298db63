package bench

import (
	"bufio"
	"fmt"
	"net/smtp"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"latchkey/gateway/gatewaytest"
	"latchkey/imstest"
)

// BenchmarkInvite is the time from the invite request to the mail that the SMTP server has accepted: directory, two REGISTERs,
// two transactions, SMTP. Beside it: the same SMTP server given a mail directly, and one fsync.
func BenchmarkInvite(b *testing.B) {
	w := gatewaytest.New(b, gatewaytest.Plan{Command: []string{program(b), "serve"}, Args: []string{"--log-level=info"}})
	ours, direct, fsync := &side{name: "invite request to accepted mail"}, &side{name: "a mail by net/smtp"}, &side{name: "one fsync"}
	d := newDisk(b)
	wait := func(to string) {
		if _, err := w.Mail.Wait(w.Within(gatewaytest.Patience), to, 1); err != nil {
			b.Fatal(err)
		}
	}
	for i := range b.N {
		to := fmt.Sprintf("g%d@mail.example", i)
		ours.measure(func() {
			w.Do("POST", "/rcsgw/invitee/user", gatewaytest.Alice, gatewaytest.Password, `{"email":"`+to+`"}`).Wants(201)
			wait(to)
		})
		to = fmt.Sprintf("d%d@mail.example", i)
		direct.measure(func() {
			if err := smtp.SendMail(w.Mail.Addr(), nil, "bench@mail.example", []string{to}, []byte("Subject: bench\r\n\r\nbench\r\n")); err != nil {
				b.Fatal(err)
			}
			wait(to)
		})
		fsync.measure(func() { d.write(b) })
	}
	compare(b, ours, direct, fsync)
}

// BenchmarkMessage is the time from the guest's POST to the message on the inviter's phone, on an open channel. Beside it:
// the same phone sent a message by another phone, on an open MSRP session without any gateway, and one fsync.
func BenchmarkMessage(b *testing.B) {
	w := gatewaytest.New(b, gatewaytest.Plan{Command: []string{program(b), "serve"}, Args: []string{"--log-level=info"}})
	alice, carol := w.Phone(gatewaytest.Alice, imstest.Manner{NoReceipts: true}), w.Phone(gatewaytest.Carol, imstest.Manner{NoReceipts: true})
	g := w.Guest()
	ours, direct, fsync := &side{name: "POST message to the phone"}, &side{name: "phone to phone, MSRP without a gateway"}, &side{name: "one fsync"}
	d := newDisk(b)
	got := 0
	wait := func() {
		got++
		if _, err := alice.Wait(w.Within(gatewaytest.Patience), "message", got); err != nil {
			b.Fatal(err)
		}
	}
	post := func() { g.Send(gatewaytest.Alice, "a text of the usual length, more or less"); wait() }
	send := func() {
		if _, err := carol.Send(w.Within(gatewaytest.Patience), gatewaytest.Alice, "a text of the usual length, more or less"); err != nil {
			b.Fatal(err)
		}
		wait()
	}
	post() // opens the channels
	send()
	for range b.N {
		ours.measure(post)
		direct.measure(send)
		fsync.measure(func() { d.write(b) })
	}
	compare(b, ours, direct, fsync)
}

// BenchmarkDemo is the time until the demo of a built binary says that it is ready, with an invitation sent. Beside it:
// the same binary that prints its version.
func BenchmarkDemo(b *testing.B) {
	path := program(b)
	ours, version := &side{name: "latchkey demo is ready"}, &side{name: "latchkey version"}
	for range b.N {
		ours.measure(func() {
			cmd := exec.Command(path, "demo", "--http-listen=127.0.0.1:0", "--pages-listen=127.0.0.1:0")
			out, err := cmd.StdoutPipe()
			if err != nil {
				b.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() {
				_ = cmd.Process.Signal(syscall.SIGTERM)
				_ = cmd.Wait()
			})
			limit := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
			defer limit.Stop()
			for lines := bufio.NewScanner(out); lines.Scan(); {
				if strings.Contains(lines.Text(), "demo is ready") {
					return
				}
			}
			b.Fatal("the demo ended before it was ready")
		})
		version.measure(func() {
			if err := exec.Command(path, "version").Run(); err != nil {
				b.Fatal(err)
			}
		})
	}
	compare(b, ours, version)
}
