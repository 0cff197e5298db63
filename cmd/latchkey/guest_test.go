package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"latchkey/gateway/gatewaytest"
	"latchkey/imstest"
)

// onTerminal runs latchkey in a terminal of its own and gives what types into it and what waits for its screen.
func onTerminal(t *testing.T, args ...string) (types func(keys ...string), sees func(text string) string) {
	t.Helper()
	return onTerminalOf(t, nil, append([]string{os.Args[0]}, args...)...)
}

// onTerminalOf runs any program there, with more in its environment.
func onTerminalOf(t *testing.T, env []string, args ...string) (types func(keys ...string), sees func(text string) string) {
	t.Helper()
	if _, err := exec.LookPath("tmux"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("tmux is missing; apt-get install tmux")
		}
		t.Skip("tmux is missing; apt-get install tmux")
	}
	socket := filepath.Join(t.TempDir(), "s")
	tmux := func(args ...string) string {
		t.Helper()
		out, err := exec.Command("tmux", append([]string{"-S", socket}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("tmux %q: %v\n%s", args, err, out)
		}
		return string(out)
	}
	line := ""
	for _, a := range args {
		line += "'" + a + "' "
	}
	session := []string{"-f", "/dev/null", "new-session", "-d", "-s", "guest", "-x", "100", "-y", "30", "-e", asLatchkey, "-e", "LC_ALL=C.UTF-8"}
	for _, e := range env {
		session = append(session, "-e", e)
	}
	tmux(append(session, line+"; echo exit $?; exec sleep 600")...)
	t.Cleanup(func() { tmux("kill-server") })
	return func(keys ...string) { tmux(append([]string{"send-keys", "-t", "guest"}, keys...)...) },
		func(text string) (screen string) {
			t.Helper()
			for end := time.Now().Add(gatewaytest.Patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
				if screen = tmux("capture-pane", "-p", "-J", "-t", "guest"); strings.Contains(screen, text) {
					return screen
				}
			}
			t.Fatalf("the screen does not show %q:\n%s", text, screen)
			return ""
		}
}

// R32, X4: a gateway that is killed and comes back costs the guest at the terminal nothing: what was written meanwhile goes once, what the inviter
// writes comes once, and the screen says how things are.
func TestTerminalOutlivesAKilledGateway(t *testing.T) {
	t.Parallel()
	w := serves(t, gatewaytest.Plan{Args: []string{"--http-listen=" + gatewaytest.FreePort(t)}})
	a := w.Phone(gatewaytest.Alice, imstest.Manner{Tags: imstest.ChatTags})
	b := w.Guest()
	// The password is asked for where the link has none, and a browser hands the link over like this.
	bare, _, _ := strings.Cut(b.Link, "?")
	types, sees := onTerminal(t, "guest", strings.Replace(bare, "http:", "latchkey:", 1))
	sees("Password of the invitation for " + b.Account)
	types(b.Password, "Enter")
	sees("Alice> ")
	types("before", "Enter")
	if _, err := a.Wait(w.Within(gatewaytest.Patience), "message", 1); err != nil {
		t.Fatal(err)
	}
	sees("you: before  ✓✓ delivered")
	w.Kill()
	sees("No connection.")
	types("meanwhile", "Enter")
	sees("you: meanwhile  … sending")
	w.Start()
	sees("Connected again.")
	got, err := a.Wait(w.Within(gatewaytest.Patience), "message", 2)
	if err != nil {
		t.Fatal(err)
	}
	sees("you: meanwhile  ✓✓ delivered")
	if _, err := a.Send(w.Within(gatewaytest.Patience), b.Account, "I am back, too"); err != nil {
		t.Fatal(err)
	}
	screen := sees("Alice: I am back, too")
	if len(got) != 2 || strings.Count(screen, "meanwhile") != 1 || strings.Count(screen, "back, too") != 1 || strings.Contains(screen, b.Password) {
		t.Errorf("%d messages\n%s", len(got), screen)
	}
	types("/quit", "Enter")
	sees("exit 0")
}

// R32, S2: what the page hands over opens the chat in a terminal: a file without the password, for which the whole link of the mail is as good an answer as the
// password, and a link behind latchkey:, which a desktop opens by a press once it was told to.
func TestHandedOverChatsOpenInATerminal(t *testing.T) {
	t.Parallel()
	w := serves(t, gatewaytest.Plan{})
	a := w.Phone(gatewaytest.Alice, imstest.Manner{Tags: imstest.ChatTags})
	b := w.Guest()
	req, err := http.NewRequest("GET", b.Link, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "application/vnd.latchkey")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != 200 || bytes.Contains(body, []byte(b.Password)) {
		t.Fatalf("%d %s, %v", res.StatusCode, body, err)
	}
	home := t.TempDir()
	file := filepath.Join(home, "chat (1).latchkey")
	if err := os.WriteFile(file, body, 0o600); err != nil {
		t.Fatal(err)
	}
	env := []string{"XDG_DATA_HOME=" + home + "/data", "XDG_CONFIG_HOME=" + home + "/config", "XDG_DATA_DIRS=" + home, "HOME=" + home, "DISPLAY=:9", "XDG_CURRENT_DESKTOP=", "BROWSER="}
	types, sees := onTerminal(t, "guest", "file://"+strings.ReplaceAll(file, " ", "%20"))
	sees("Password of the invitation for " + b.Account)
	types(b.Link, "Enter")
	sees("Alice> ")
	types("from a file", "Enter")
	if got, err := a.Wait(w.Within(gatewaytest.Patience), "message", 1); err != nil || got[0].Text != "from a file" {
		t.Fatalf("%+v, %v", got, err)
	}
	if screen := sees("you: from a file"); strings.Contains(screen, b.Password) {
		t.Errorf("the password is on the screen:\n%s", screen)
	}

	if _, err := exec.LookPath("xdg-mime"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("xdg-mime is missing; apt-get install xdg-utils")
		}
		t.Skip("xdg-mime is missing; apt-get install xdg-utils")
	}
	desktop := func(args ...string) string {
		t.Helper()
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Env = append(append(os.Environ(), asLatchkey), env...)
		if err := os.MkdirAll(home+"/config", 0o700); err != nil {
			t.Fatal(err)
		}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%q: %v\n%s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	if said := desktop(os.Args[0], "guest", "--register"); !strings.Contains(said, "opens latchkey: links and .latchkey files with this program now") {
		t.Errorf("--register says %s", said)
	}
	for _, what := range []string{"x-scheme-handler/latchkey", "application/vnd.latchkey"} {
		if by := desktop("xdg-mime", "query", "default", what); by != "latchkey-guest.desktop" {
			t.Errorf("%s is opened by %q", what, by)
		}
	}
	types, sees = onTerminalOf(t, env, "xdg-open", "latchkey:"+strings.Replace(b.Link, "?", "#", 1))
	sees("Alice> ")
	types("by a press", "Enter")
	if got, err := a.Wait(w.Within(gatewaytest.Patience), "message", 2); err != nil || got[1].Text != "by a press" {
		t.Fatalf("%+v, %v", got, err)
	}
	types("/quit", "Enter")
	sees("exit 0")
	desktop(os.Args[0], "guest", "--unregister")
	if err := filepath.WalkDir(filepath.Join(home, "data"), func(path string, _ fs.DirEntry, err error) error {
		if strings.Contains(filepath.Base(path), "latchkey") {
			t.Errorf("left is %s", path)
		}
		return err
	}); err != nil {
		t.Error(err)
	}
	desktop(os.Args[0], "guest", "--unregister") // once more does no harm
}

// A path of any kind is one argument of Exec.
func TestPathsAreQuotedForTheDesktop(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{"/usr/bin/latchkey": "/usr/bin/latchkey", "/home/me/my bin/l": `"/home/me/my bin/l"`, "/a\"b$c`d\\e%f": `"/a\\"b\\$c\\` + "`" + `d\\\\e%%f"`} {
		if got := quoted(path); got != want {
			t.Errorf("quoted(%s) = %s, want %s", path, got, want)
		}
	}
}

// R32, R33, F51, F53: files in both directions through the terminal client, for a program that speaks JSON.
func TestFilesThroughTheTerminalClient(t *testing.T) {
	t.Parallel()
	w := serves(t, gatewaytest.Plan{})
	a := w.Phone(gatewaytest.Alice, imstest.Manner{Tags: imstest.FileTags})
	b := w.FileGuest()
	dir := t.TempDir()
	body := bytes.Repeat([]byte("0123456789"), 30_000)
	if err := os.WriteFile(filepath.Join(dir, "out.bin"), body, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(w.Within(2*gatewaytest.Patience), os.Args[0], "guest", "--json", "--events", "websocket", b.Link)
	cmd.Env, cmd.Stderr = append(os.Environ(), asLatchkey), os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	type object struct {
		Type, State string
		Ref         int
		Bytes       int64
		File        struct{ ID, Name, State string }
	}
	until := func(what string, f func(object) bool) object {
		t.Helper()
		for lines.Scan() {
			var o object
			if err := json.Unmarshal(lines.Bytes(), &o); err != nil {
				t.Fatalf("line %q: %v", lines.Text(), err)
			}
			if f(o) {
				return o
			}
		}
		t.Fatalf("no %s: %v", what, lines.Err())
		return object{}
	}
	say := func(v map[string]any) {
		t.Helper()
		line, err := json.Marshal(v)
		if err == nil {
			_, err = in.Write(append(line, '\n'))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	until("connection", func(o object) bool { return o.Type == "connection" && o.State == "online" })
	say(map[string]any{"command": "file", "ref": 1, "to": gatewaytest.Alice, "path": filepath.Join(dir, "out.bin"), "name": "naïve.bin"})
	sent := until("accepted", func(o object) bool { return o.Type == "accepted" && o.Ref == 1 })
	until("sent", func(o object) bool {
		return o.Type == "delivery" && o.File.ID == sent.File.ID && o.File.State == "sent"
	})
	if got, err := a.Wait(w.Within(gatewaytest.Patience), "file", 1); err != nil || got[0].File.Name != "naïve.bin" || got[0].File.Sum != got[0].File.SHA1 {
		t.Errorf("Alice has %+v, %v", got, err)
	}
	if _, err := a.SendFile(w.Within(gatewaytest.Patience), b.Account, imstest.FileOffer{Name: "in.bin", Type: "application/octet-stream", Body: bytes.NewReader(body), Size: int64(len(body))}); err != nil {
		t.Fatal(err)
	}
	came := until("file", func(o object) bool { return o.Type == "file" })
	say(map[string]any{"command": "save", "ref": 2, "id": came.File.ID, "path": filepath.Join(dir, "in.bin")})
	if o := until("saved", func(o object) bool { return o.Type == "saved" && o.Ref == 2 }); o.Bytes != int64(len(body)) {
		t.Errorf("saved %d bytes", o.Bytes)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "in.bin")); err != nil || !bytes.Equal(got, body) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	say(map[string]any{"command": "quit"})
	for lines.Scan() {
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("latchkey guest: %v", err)
	}
}

// X9: Ctrl-C ends the demo, with exit code 0 and nothing left behind.
func TestDemoLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	temp := t.TempDir()
	cmd := exec.Command(os.Args[0], "demo", "--http-listen", "127.0.0.1:0", "--pages-listen", "127.0.0.1:0")
	cmd.Env = append(os.Environ(), asLatchkey, "TMPDIR="+temp)
	log := &imstest.Log{}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	imstest.Eventually(t, time.Minute, func() bool { return strings.Contains(log.String(), "Ctrl-C stops everything") })
	if left, err := os.ReadDir(temp); err != nil || len(left) == 0 {
		t.Errorf("the demo has no folder: %v", err)
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v\n%s", err, log)
	}
	if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
