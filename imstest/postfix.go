package imstest

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// PostfixOptions say what a Postfix does with mails.
type PostfixOptions struct {
	// Routes are the servers that take mails, host:port by domain or mailbox; lmtp:host:port for LMTP. Whatever else comes is refused.
	Routes map[string]string
	// Mailboxes are those that it keeps itself, as user@domain.
	Mailboxes []string
	// User and Password are asked for, by the ways of SASL in Ways; "": anybody may send.
	User, Password, Ways string
	// Cert and Key are PEM files for STARTTLS; "": it is not offered.
	Cert, Key string
	// More lines of main.cf.
	More []string
}

// Postfix is Debian's mail server, an instance of its own: nothing of the system's configuration or queue is used.
type Postfix struct {
	dir, addr string
	cmd       *exec.Cmd
	leash     io.Closer // its standard input
	over      chan error
}

// postfixServices are the lines of master.cf below the one that listens. Nothing is chrooted.
const postfixServices = `pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
lmtp unix - - n - - lmtp
error unix - - n - - error
retry unix - - n - - error
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
`

// postfixWatch runs the master process, which ends its daemons when it ends, until its standard input is closed: at the latest when the test's process is gone.
const postfixWatch = `exec 3<&0; "$0" -c "$1" -s </dev/null 3<&- & m=$!; { read -r _ <&3; kill $m 2>/dev/null; } & wait $m`

const postfixDaemons = "/usr/lib/postfix/sbin"

// NewPostfix starts a Postfix on a free port of 127.0.0.1; it ends with the test. Where it can't run the test is skipped, or fails if CI is true.
func NewPostfix(t testing.TB, opt PostfixOptions) *Postfix {
	t.Helper()
	owner, err := user.Lookup("postfix")
	if err == nil {
		_, err = os.Stat(postfixDaemons + "/master")
	}
	if err == nil && opt.User != "" {
		_, err = exec.LookPath("saslpasswd2")
	}
	if err == nil && os.Getuid() != 0 {
		err = fmt.Errorf("it starts as root only")
	}
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("postfix can't run: %v; get it by: ./test.sh", err)
		}
		t.Skipf("postfix can't run: %v; get it by: ./test.sh", err)
	}
	// t.TempDir is closed to others, and Postfix's daemons are others.
	dir, err := os.MkdirTemp("", "postfix")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	p := &Postfix{dir: dir}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.Chmod(dir, 0o755))
	uid, err := strconv.Atoi(owner.Uid)
	must(err)
	drop, err := user.LookupGroup("postdrop")
	must(err)
	gid, err := strconv.Atoi(drop.Gid)
	must(err)
	must(os.MkdirAll(filepath.Join(dir, "conf"), 0o755))
	for name, mode := range map[string]os.FileMode{
		"data": 0o700, "mail": 0o700, "queue/pid": 0o755, "queue/incoming": 0o700, "queue/active": 0o700, "queue/bounce": 0o700, "queue/corrupt": 0o700,
		"queue/defer": 0o700, "queue/deferred": 0o700, "queue/flush": 0o700, "queue/hold": 0o700, "queue/saved": 0o700, "queue/trace": 0o700, "queue/private": 0o700,
		"queue/maildrop": 0o730 | os.ModeSticky, "queue/public": 0o710 | os.ModeSetgid,
	} {
		path := filepath.Join(dir, name)
		must(os.MkdirAll(path, 0o755))
		if name != "queue/pid" {
			must(os.Chown(path, uid, gid))
		}
		must(os.Chmod(path, mode))
	}
	main := []string{
		"compatibility_level = 3.6", "queue_directory = " + dir + "/queue", "data_directory = " + dir + "/data", "daemon_directory = " + postfixDaemons,
		"maillog_file = " + dir + "/log", "maillog_file_prefixes = " + dir, "myhostname = mx.example", "mydestination =", "alias_maps =", "alias_database =",
		"inet_interfaces = 127.0.0.1", "inet_protocols = ipv4", "smtpd_peername_lookup = no",
		"transport_maps = inline:{" + postfixRoutes(opt.Routes) + "}", "default_transport = error:5.4.4 no route",
	}
	if len(opt.Mailboxes) > 0 {
		boxes, domains := "", map[string]bool{}
		for _, b := range opt.Mailboxes {
			_, domain, _ := strings.Cut(b, "@")
			domains[domain] = true
			boxes += " {" + b + "=" + b + "/}"
		}
		main = append(main, "virtual_mailbox_base = "+dir+"/mail", "virtual_mailbox_maps = inline:{"+boxes+" }",
			fmt.Sprintf("virtual_uid_maps = static:%d", uid), fmt.Sprintf("virtual_gid_maps = static:%d", gid), "virtual_mailbox_domains =")
		for d := range domains {
			main[len(main)-1] += " " + d
		}
	}
	if opt.Cert != "" {
		main = append(main, "smtpd_tls_security_level = may", "smtpd_tls_chain_files = "+opt.Key+", "+opt.Cert)
	}
	if opt.User != "" {
		db := dir + "/sasldb2"
		add := exec.Command("saslpasswd2", "-p", "-c", "-f", db, "-u", "mx.example", opt.User)
		add.Stdin = strings.NewReader(opt.Password)
		if out, err := add.CombinedOutput(); err != nil {
			t.Fatalf("saslpasswd2: %v\n%s", err, out)
		}
		must(os.Chown(db, uid, gid))
		// Debian's Postfix looks below its configuration, whatever cyrus_sasl_config_path says.
		must(os.MkdirAll(dir+"/conf/sasl", 0o755))
		must(os.WriteFile(dir+"/conf/sasl/smtpd.conf", []byte("pwcheck_method: auxprop\nauxprop_plugin: sasldb\nsasldb_path: "+db+"\nmech_list: "+opt.Ways+"\n"), 0o644))
		main = append(main, "smtpd_sasl_auth_enable = yes", "smtpd_sasl_type = cyrus", "smtpd_sasl_path = smtpd",
			"smtpd_sasl_local_domain = mx.example", "smtpd_relay_restrictions = permit_sasl_authenticated, reject")
	} else {
		main = append(main, "mynetworks = 127.0.0.0/8")
	}
	must(os.WriteFile(dir+"/conf/main.cf", []byte(strings.Join(append(main, opt.More...), "\n")+"\n"), 0o644))
	// Somebody else may take a port between its choice and its use.
	for attempt := 1; ; attempt++ {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		must(err)
		p.addr = ln.Addr().String()
		must(ln.Close())
		must(os.WriteFile(dir+"/conf/master.cf", []byte(p.addr+" inet n - n - - smtpd\n"+postfixServices), 0o644))
		if err = p.run(); err == nil {
			break
		}
		if attempt == 3 {
			t.Fatalf("%v\n%s", err, p.Log())
		}
	}
	t.Cleanup(func() {
		p.Stop()
		if t.Failed() {
			t.Logf("postfix's log:\n%s", p.Log())
		}
	})
	return p
}

// postfixRoutes is a table of transports.
func postfixRoutes(routes map[string]string) string {
	text := ""
	for whom, server := range routes {
		how := "smtp:"
		if lmtp, ok := strings.CutPrefix(server, "lmtp:"); ok {
			how, server = "lmtp:inet:", lmtp
		}
		host, port, _ := net.SplitHostPort(server)
		text += " {" + whom + " = " + how + "[" + host + "]:" + port + "}"
	}
	return text + " "
}

// run starts the master process and waits until it listens.
func (p *Postfix) run() error {
	p.cmd = exec.Command("sh", "-c", postfixWatch, postfixDaemons+"/master", p.dir+"/conf")
	var err error
	if p.leash, err = p.cmd.StdinPipe(); err != nil {
		return err
	}
	if err := p.cmd.Start(); err != nil {
		return err
	}
	over, cmd := make(chan error, 1), p.cmd
	p.over = over
	go func() { over <- cmd.Wait() }() // ends with the process
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for poll := time.NewTicker(20 * time.Millisecond); ; {
		select {
		case err := <-over:
			over <- err
			return fmt.Errorf("postfix ended: %w", err)
		case <-poll.C:
			if conn, err := net.DialTimeout("tcp", p.addr, time.Second); err == nil {
				_ = conn.Close()
				poll.Stop()
				return nil
			}
		case <-ctx.Done():
			poll.Stop()
			p.Stop()
			return fmt.Errorf("postfix does not listen")
		}
	}
}

// Start starts it again after Stop, on the same port and with the same queue.
func (p *Postfix) Start() error { return p.run() }

// Stop ends it. Its queue stays.
func (p *Postfix) Stop() {
	_ = p.leash.Close()
	select {
	case err := <-p.over:
		p.over <- err
	case <-time.After(10 * time.Second):
		_ = p.cmd.Process.Kill()
	}
}

// Addr is host:port of its SMTP.
func (p *Postfix) Addr() string { return p.addr }

// Log is what it logged.
func (p *Postfix) Log() string {
	text, _ := os.ReadFile(p.dir + "/log")
	return string(text)
}

// Mails are those that a mailbox of its own has.
func (p *Postfix) Mails(box string) (all []string) {
	files, _ := filepath.Glob(filepath.Join(p.dir, "mail", box, "new", "*"))
	for _, f := range files {
		if text, err := os.ReadFile(f); err == nil {
			all = append(all, string(text))
		}
	}
	return all
}
