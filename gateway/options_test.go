package gateway

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"latchkey"
	"latchkey/guest"
	"latchkey/push"
	"latchkey/registrar"
)

func noEnv(string) string { return "" }

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Every default and every example of the table is a value that works.
func TestDefaultsAndExamplesWork(t *testing.T) {
	c, err := Load([]string{"--directory", "file:users.yaml"}, noEnv)
	if err != nil {
		t.Fatal(err)
	}
	if c.AccountScheme != guest.Mapped || c.AccountLifetime != 168*time.Hour || c.SIPRegisterExpires != 600000*time.Second || c.KeepAccount || c.LinkStyle != guest.Query ||
		c.FileStore != "latchkey.db.files" || c.FileMaxSize != 100<<20 || c.FileQuota != 1<<30 || c.FileLifetime != 168*time.Hour || c.FilePeers != nil || c.FileScan != (FileScan{}) || c.FileUpload != BasicUploads || c.FileUploadTo != "" ||
		!slices.Equal(c.SIPTrusted, []string{"127.0.0.1"}) || c.IMServer != c.SIPCore || c.FileServer != c.SIPCore || c.Log != (Logging{Level: slog.LevelInfo}) {
		t.Errorf("Load(no options) = %+v", c)
	}
	if c.GuestMode != RegisterGuests || c.SCSCF != "" || !c.AssertedService || c.StreamsOnly || c.RegEvent != registrar.Confirm || c.KeepInviters || c.Identity() != "sip:latchkey@guest.example" {
		t.Errorf("Load(no options) = %+v", c)
	}
	if got := c.BaseURL("127.0.0.1:4711"); got != "http://127.0.0.1:4711" {
		t.Errorf("BaseURL = %q, want the address as bound", got)
	}
	for _, o := range Options() {
		if o.set == nil || strings.Contains(o.Example, "@/") || slices.Contains([]string{"mail-ca", "mail-dkim", "push-ca", "templates"}, o.Name) {
			continue // reads a file that isn't here
		}
		if err := o.set(&Config{}, o.Example); err != nil {
			t.Errorf("%s: example %q: %v", o.Name, o.Example, err)
		}
	}
}

func TestFlagWinsOverEnvironmentWinsOverFile(t *testing.T) {
	file := write(t, "latchkey.yaml", "domain: file.example\ndata: file.db\nmail-from: file@cc.com\nsip-listen:\n  - udp:127.0.0.1:0\n  - tcp:127.0.0.1:0\nrequire-online: true\ndirectory: file:users.yaml\n")
	env := map[string]string{"LATCHKEY_CONFIG": file, "LATCHKEY_DATA": "env.db", "LATCHKEY_MAIL_FROM": "env@cc.com"}
	c, err := Load([]string{"--mail-from=flag@cc.com"}, func(k string) string { return env[k] })
	if err != nil {
		t.Fatal(err)
	}
	if c.MailFrom != "flag@cc.com" || c.Data != "env.db" || c.Domain != "file.example" || !c.RequireOnline ||
		!slices.Equal(c.SIPListen, []string{"udp:127.0.0.1:0", "tcp:127.0.0.1:0"}) {
		t.Errorf("Load = %+v", c)
	}
}

// Each error is one line that names the option, says what is wrong and gives an example.
func TestBadValuesAreNamedOnOneLine(t *testing.T) {
	for _, c := range []struct {
		args []string
		want []string
	}{
		{[]string{"--http-listen", "8080"}, []string{"--http-listen", `"8080" is not host:port`, "0.0.0.0:8080"}},
		{[]string{"--account-lifetime", "7 days"}, []string{"--account-lifetime", "not a duration", "72h"}},
		{[]string{"--account-scheme", "directory"}, []string{"account-scheme", "a file allots no accounts", "--directory https://"}},
		{[]string{"--account-scheme", "random"}, []string{"--account-scheme", `"random" is not one of mapped, identifier, serial, directory`}},
		{[]string{"--sip-auth", "directory"}, []string{"sip-auth", "--account-scheme directory"}},
		{[]string{"--interaction-skip"}, []string{"interaction-skip", "--account-scheme directory"}},
		{[]string{"--http-trusted", "proxy.cc.com"}, []string{"--http-trusted", "CIDR", "192.0.2.8/32"}},
		{[]string{"--invite-policy", "level:x"}, []string{"--invite-policy", "not a level", "level:3"}},
		{[]string{"--sip-listen", "tls:127.0.0.1:5061"}, []string{"sip-listen", "need a certificate", "--sip-tls-cert"}},
		{[]string{"--sip-listen", "sctp:127.0.0.1:5060"}, []string{"--sip-listen", "none of udp:, tcp:, tls:, ws: and wss:"}},
		{[]string{"--sip-tls-key", "x.pem"}, []string{"sip-tls-cert", "sip-tls-key"}},
		{[]string{"--sip-tls-client-auth"}, []string{"sip-tls-client-auth", "asks nobody", "--sip-listen tls:"}},
		{[]string{"--sip-core", "sips:core.example;transport=udp"}, []string{"--sip-core", "can't go by udp"}},
		{[]string{"--sip-core", "sip:core.example;transport=sctp"}, []string{"--sip-core", "sctp is not supported"}},
		{[]string{"--sip-t1", "5ms"}, []string{"--sip-t1", "too short"}},
		{[]string{"--sip-t1", "9s", "--sip-t2", "16s"}, []string{"sip-t1", "longer than 8s"}},
		{[]string{"--sip-t1", "5s"}, []string{"sip-t2", "shorter than sip-t1"}},
		{[]string{"--sip-t1", "20ms"}, []string{"sip-t2", "64 times"}},
		{[]string{"--sip-t4", "513s"}, []string{"sip-t4", "longer"}},
		{[]string{"--sip-core", "core.example"}, []string{"--sip-core", "not a SIP URI"}},
		{[]string{"--sip-core", "sip:core.example,core2.example"}, []string{"--sip-core", "core2.example", "not a SIP URI"}},
		{[]string{"--sip-core", "sip:core.example, sip:core.example"}, []string{"--sip-core", "twice"}},
		{[]string{"--sip-core", ","}, []string{"--sip-core", "is empty"}},
		{[]string{"--data", "postgres://localhost/x"}, []string{"--data", "only an SQLite file"}},
		{[]string{"--file-max-size", "much"}, []string{"--file-max-size", "not a size", "1GiB"}},
		{[]string{"--file-max-size", "0"}, []string{"--file-max-size", "not a size"}},
		{[]string{"--file-quota", "9999999999TiB"}, []string{"--file-quota", "not a size"}},
		{[]string{"--file-peers", "10.0.0.1"}, []string{"--file-peers", "not a network", "192.0.2.0/24"}},
		{[]string{"--file-scan", "icap:127.0.0.1:1344"}, []string{"--file-scan", "clamd:", "icap://", "clamd:127.0.0.1:3310"}},
		{[]string{"--file-upload", "gba"}, []string{"--file-upload", "basic", "asserted"}},
		{[]string{"--file-upload", "digest", "--directory", "http://127.0.0.1:1/"}, []string{"--file-upload", "directory file"}},
		{[]string{"--file-upload", "digest", "--directory", "http://127.0.0.1:1/", "--sip-auth", "shared:x"}, []string{"--file-upload", "sip-auth ephemeral"}},
		{[]string{"--file-upload-url", "ftp://x"}, []string{"--file-upload-url", "http://", "https://ft.example.com/upload"}},
		{[]string{"--file-upload-url", "https://x/?a"}, []string{"--file-upload-url", "more in it"}},
		{[]string{"--file-scan", "icap://127.0.0.1:1344"}, []string{"--file-scan", "no service"}},
		{[]string{"--file-scan", "clamd:127.0.0.1"}, []string{"--file-scan", "host:port"}},
		{[]string{"--msrp-listen", "udp:127.0.0.1:2855"}, []string{"--msrp-listen", "begins with none of tcp:, tls:, ws: and wss:", "tls:192.0.2.10:2856"}},
		{[]string{"--ws-origins", "chat.example.com"}, []string{"--ws-origins", "not an origin", "https://chat.example.com"}},
		{[]string{"--msrp-listen", "tcp:127.0.0.1:2855,tls:2856"}, []string{"--msrp-listen", `"2856" is not host:port`}},
		{[]string{"--anchor", "sometimes"}, []string{"--anchor", "not one of always, guests, never"}},
		{[]string{"--sip-ioi", "a\r\nb"}, []string{"--sip-ioi", "header field", "as.example.com"}},
		{[]string{"--file-ways", "ftp"}, []string{"--file-ways", "msrp, http"}},
		{[]string{"--file-ways", "msrp,msrp"}, []string{"--file-ways", "twice"}},
		{[]string{"--msrp-peers", "10.0.0.1"}, []string{"--msrp-peers", "CIDR"}},
		{[]string{"--directory", "ldap://cc.com"}, []string{"--directory", "neither file:PATH nor", "file:users.yaml"}},
		{[]string{"--directory", "https://cc.com/?x"}, []string{"--directory", "without query"}},
		{[]string{"--mail", "mail.cc.com"}, []string{"--mail", "smtp://"}},
		{[]string{"--mail", "smtp://127.0.0.1:25"}, []string{"mail-from", "is needed"}},
		{[]string{"--mail", "smtp://mail.cc.com?auth=plain"}, []string{"--mail", "user and password"}},
		{[]string{"--mail", "smtp://me:hush@mail.cc.com?auth=ntlm"}, []string{"--mail", "auth", "SCRAM-SHA-256"}},
		{[]string{"--mail", "smtp://me:hush@mail.cc.com?tls=no"}, []string{"--mail", "tls: is not a setting"}},
		{[]string{"--push", "loud"}, []string{"--push", "loud", "text"}},
		{[]string{"--push-contact", "ops@example.com"}, []string{"--push-contact", "mailto:"}},
		{[]string{"--push-peers", "10.0.0.1"}, []string{"--push-peers", "CIDR"}},
		{[]string{"--push-ca", "/nowhere"}, []string{"--push-ca", "no such file"}},
		{[]string{"--mail-ca", "/nowhere"}, []string{"--mail-ca", "no such file", "ca.pem"}},
		{[]string{"--mail-bounce", "pop3:127.0.0.1:110"}, []string{"--mail-bounce", "smtp: nor lmtp:"}},
		{[]string{"--mail-bounce", "smtp:127.0.0.1:0"}, []string{"mail", "mail-bounce"}},
		{[]string{"--mail-bounce-domain", "cc.com"}, []string{"mail-bounce-domain", "needs mail-bounce"}},
		{[]string{"--mail-bounce", "smtp:127.0.0.1:0", "--mail-bounce-domain", "a b"}, []string{"--mail-bounce-domain", "not a domain"}},
		{[]string{"--mail-dkim", "key.pem"}, []string{"--mail-dkim", "SELECTOR:DOMAIN:PATH"}},
		{[]string{"--mail-dkim", "x:cc.com:/nowhere"}, []string{"--mail-dkim", "no such file"}},
		{[]string{"--templates", "/nowhere"}, []string{"--templates", "no such file"}},
		{[]string{"--invite-deny", "cc.com"}, []string{"--invite-deny", `"cc.com" is neither`, "@example.org"}},
		{[]string{"--invite-allow", "+49x"}, []string{"--invite-allow", "beginning of a number"}},
		{[]string{"--quota-inviter", "0/1h"}, []string{"--quota-inviter", "neither none nor a number", "50/1h"}},
		{[]string{"--quota-target", "5"}, []string{"--quota-target", "no time from 1s to 720h"}},
		{[]string{"--quota-total", "5/800h"}, []string{"--quota-total", "no time from 1s to 720h"}},
		{[]string{"--opted-out", "loud"}, []string{"--opted-out", "not one of silent, refuse"}},
		{[]string{"--notice-merge", "-1s"}, []string{"--notice-merge", "too short"}},
		{[]string{"--sms", "smpp://x"}, []string{"--sms", "needs a system-id", "smpp://"}},
		{[]string{"--sms", "smsc.cc.com"}, []string{"--sms", "smpp:// or smpps://"}},
		{[]string{"--sms", "smpp://me:hush@x?windows=5"}, []string{"--sms", "windows: is not a setting", "window"}},
		{[]string{"--sms", "smpp://me:hush@x?window=0"}, []string{"--sms", "window", "from 1 to 1000"}},
		{[]string{"--sms", "smpp://me:hush@x?from=twelve-chars"}, []string{"--sms", "from", "11 characters"}},
		{[]string{"--sms", "smpp://me:hush@x?national=tr+xx"}, []string{"--sms", `"xx" has no alphabet`}},
		{[]string{"--sms", "smpp://me:hush@x?region=XX"}, []string{"--sms", `"XX" is not a country`}},
		{[]string{"--mms", "http://x"}, []string{"--mms", "mm7+http://"}},
		{[]string{"--mms", "mm7+http://x?vsap=1"}, []string{"--mms", "vsap: is not a setting"}},
		{[]string{"--http-rate", "fast"}, []string{"--http-rate", "requests a second", "none"}},
		{[]string{"--http-rate", "0"}, []string{"--http-rate", `"0" is neither`}},
		{[]string{"--http-connections", "10"}, []string{"--http-connections", "the least is 64"}},
		{[]string{"--http-connections", "many"}, []string{"--http-connections", "not a number"}},
		{[]string{"--http-origins", "https://chat.example.com/"}, []string{"--http-origins", "without a final slash"}},
		{[]string{"--http-origins", "*"}, []string{"--http-origins", "not an origin"}},
		{[]string{"--guest-mode", "ue"}, []string{"--guest-mode", `"ue" is not one of register, as`}},
		{[]string{"--scscf", "scscf.example"}, []string{"--scscf", "not a SIP URI"}},
		{[]string{"--asserted-service=maybe"}, []string{"--asserted-service", "not true or false"}},
		{[]string{"--guest-reachable", "never"}, []string{"--guest-reachable", "not one of always, stream"}},
		{[]string{"--sip-identity", "latchkey"}, []string{"--sip-identity", "not a SIP URI"}},
		{[]string{"--reg-event", "off"}, []string{"--reg-event", "not one of confirm, standing, none"}},
		{[]string{"--inviter-logout", "delete"}, []string{"--inviter-logout", "not one of end, keep"}},
		{[]string{"--interaction-mode=page"}, []string{"--interaction-mode", `"page" is not one of session, pager`}},
		{[]string{"--invite-by-sip=maybe"}, []string{"--invite-by-sip", `"maybe" is not true or false`, "false"}},
		{[]string{"--domian", "x"}, []string{"--domian", "did you mean domain?"}},
		{[]string{"--data"}, []string{"--data", "needs a value", "latchkey.db"}},
		{[]string{"--http-tls-cert", "x.pem"}, []string{"http-tls-cert", "http-tls-key"}},
		{[]string{"serve"}, []string{"serve", "not an option"}},
	} {
		_, err := Load(append([]string{"--directory=file:x"}, c.args...), noEnv)
		if err == nil {
			t.Errorf("Load(%q) = nil, want an error", c.args)
			continue
		}
		for _, want := range c.want {
			if !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("Load(%q) = %q, want one line with %q", c.args, err, want)
			}
		}
	}
	if _, err := Load([]string{"--help"}, noEnv); !errors.Is(err, ErrHelp) {
		t.Errorf("Load(--help) = %v, want ErrHelp", err)
	}
}

func TestBadFilesAreNamedWithTheirLine(t *testing.T) {
	for text, want := range map[string]string{
		"data: x.db\nhttp-lisen: 127.0.0.1:1\n": "latchkey.yaml:2: http-lisen: is not an option; did you mean http-listen?",
		"data: a\ndata: b\n":                    "latchkey.yaml:2: data: stands here a second time",
		"\ndata: [a]\n":                         "latchkey.yaml:2: data: must be one plain value",
		"data:\n":                               "latchkey.yaml:1: data: has no value",
		"- data\n":                              "latchkey.yaml:1: must be options and values",
		"domain: a b\n":                         `latchkey.yaml:1: domain: "a b" is not a domain name`,
		"config: x\n":                           "latchkey.yaml:1: config: is not an option",
	} {
		_, err := Load([]string{"--config", write(t, "latchkey.yaml", text)}, noEnv)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("file %q: %v, want one line with %q", text, err, want)
		}
	}
}

func TestSecretsComeFromFilesAndStayOutOfMessages(t *testing.T) {
	secret := write(t, "secret", "pa:ss@word\n")
	for _, v := range []string{"smtp://me:@" + secret + "@mail.cc.com:587", "smtp://me:pa%3Ass%40word@mail.cc.com:587", "@" + write(t, "mail", "smtp://me:pa:ss@word@mail.cc.com:587\n")} {
		c, err := Load([]string{"--directory=file:x", "--mail-from=i@cc.com", "--mail", v}, noEnv)
		if err != nil {
			t.Errorf("--mail %s: %v", v, err)
			continue
		}
		if want := (&Mail{HostPort: "mail.cc.com:587", User: "me", Password: "pa:ss@word"}); !reflect.DeepEqual(c.Mail, want) {
			t.Errorf("--mail %s = %s, %q, want %s", v, c.Mail.HostPort, c.Mail.Password.Reveal(), want.HostPort)
		}
		if shown := fmt.Sprintf("%+v %#v", c, *c.Mail); strings.Contains(shown, "pa:ss") {
			t.Errorf("printing the configuration shows the password: %s", shown)
		}
	}
	c, err := Load([]string{"--directory=file:x", "--sip-auth", "shared:@" + secret}, noEnv)
	if err != nil {
		t.Fatal(err)
	}
	if got := c.SIPAuth.Credentials(latchkey.AccountID("sip:g1@guest.example")).Password; got != "pa:ss@word" {
		t.Errorf("--sip-auth shared:@PATH: password %q, want the file's", got)
	}
	for v, want := range map[string]DirectoryHTTP{
		"https://cc.com": {URL: "https://cc.com"},
		"https://me:pa%3Ass%40word@cc.com:8443/a/":         {URL: "https://cc.com:8443/a", User: "me", Password: "pa:ss@word"},
		"http://me:@" + secret + "@127.0.0.1:1/a":          {URL: "http://127.0.0.1:1/a", User: "me", Password: "pa:ss@word"},
		"https://:@" + secret + "@cc.com":                  {URL: "https://cc.com", Token: "pa:ss@word"},
		"@" + write(t, "directory", "https://:x@cc.com\n"): {URL: "https://cc.com", Token: "x"},
	} {
		c, err := Load([]string{"--directory", v}, noEnv)
		if err != nil || !reflect.DeepEqual(*c.DirectoryHTTP, want) {
			t.Errorf("--directory %s = %+v, %v, want %s", v, c.DirectoryHTTP, err, want.URL)
		} else if shown := fmt.Sprintf("%+v %#v", *c.DirectoryHTTP, *c.DirectoryHTTP); strings.Contains(shown, "pa:ss") {
			t.Errorf("printing the configuration shows the password: %s", shown)
		}
	}
	for _, bad := range []string{"--directory=ldap://me:hush@cc.com", "--directory=https://me:hush@", "--sip-auth=sharde:hush", "--mail=smpt://me:hush@cc.com", "--sip-auth=shared:@/nowhere"} {
		if _, err := Load([]string{"--directory=file:x", bad}, noEnv); err == nil || strings.Contains(err.Error(), "hush") {
			t.Errorf("Load(%s) = %v, want an error without the secret", bad, err)
		}
	}
}

// F04: the three policies.
func TestPoliciesAllowWhomTheySay(t *testing.T) {
	active := latchkey.Subscriber{State: latchkey.Active, Level: 2}
	lost := latchkey.Subscriber{State: latchkey.Lost, Level: 9}
	for policy, want := range map[string][2]bool{"any": {true, true}, "valid": {true, false}, "level:2": {true, false}, "level:3": {false, false}} {
		c, err := Load([]string{"--directory=file:x", "--invite-policy", policy}, noEnv)
		if err != nil {
			t.Fatal(err)
		}
		if got := [2]bool{c.InvitePolicy.Allows(active), c.InvitePolicy.Allows(lost)}; got != want {
			t.Errorf("%s: allows active, lost = %v, want %v", policy, got, want)
		}
	}
}

func TestNetworksAndServersAreParsed(t *testing.T) {
	c, err := Load([]string{"--directory=file:x", "--msrp-peers", "10.1.2.3/8, ::1/128", "--http-trusted=192.0.2.8/32", "--sip-core", "sip:[::1]:5060;transport=tcp", "--public-url", "https://chat.cc.com/", "--mail=smtps://mail.cc.com", "--mail-from=i@cc.com"}, noEnv)
	if err != nil {
		t.Fatal(err)
	}
	if want := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::1/128")}; !slices.Equal(c.MSRPPeers, want) {
		t.Errorf("msrp-peers = %v, want %v", c.MSRPPeers, want)
	}
	if want := []netip.Prefix{netip.MustParsePrefix("192.0.2.8/32")}; !slices.Equal(c.HTTPTrusted, want) {
		t.Errorf("http-trusted = %v, want %v", c.HTTPTrusted, want)
	}
	if !slices.Equal(c.SIPTrusted, []string{"::1"}) || c.BaseURL("x") != "https://chat.cc.com" || c.Mail.HostPort != "mail.cc.com:465" || !c.Mail.TLS {
		t.Errorf("Load = %+v, mail %+v", c, c.Mail)
	}
}

// A size is bytes, or has a unit; msrp-peers also says where files may be fetched, unless file-peers does.
func TestFileOptionsSayWhatTheyMean(t *testing.T) {
	for text, want := range map[string]int64{"1": 1, "7B": 7, "1kB": 1000, "2KiB": 2048, "3 MiB": 3 << 20, "1GiB": 1 << 30, "2GB": 2e9, "1TiB": 1 << 40} {
		c, err := Load([]string{"--directory=file:u", "--file-max-size=" + text, "--file-quota=none"}, noEnv)
		if err != nil || c.FileMaxSize != want || c.FileQuota != -1 {
			t.Errorf("file-max-size %q is %d, %v, want %d; quota %d", text, c.FileMaxSize, err, want, c.FileQuota)
		}
	}
	c, err := Load([]string{"--directory=file:u", "--msrp-peers=10.0.0.0/8"}, noEnv)
	if want := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}; err != nil || !slices.Equal(c.FilePeers, want) {
		t.Errorf("file-peers is %v, %v, want those of msrp-peers", c.FilePeers, err)
	}
	c, err = Load([]string{"--directory=file:u", "--msrp-peers=10.0.0.0/8", "--file-peers=127.0.0.0/8", "--file-scan=clamd:127.0.0.1:3310"}, noEnv)
	if want := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}; err != nil || !slices.Equal(c.FilePeers, want) || c.FileScan != (FileScan{Clamd: "127.0.0.1:3310"}) {
		t.Errorf("file-peers is %v, file-scan %+v, %v", c.FilePeers, c.FileScan, err)
	}
}

// X3: scanners, each by its own protocol.
func TestScannersAreNamedByTheirProtocol(t *testing.T) {
	for text, want := range map[string]FileScan{
		"clamd:scanner.example:3310": {Clamd: "scanner.example:3310"}, "clamd:/run/clamav/clamd.ctl": {Clamd: "/run/clamav/clamd.ctl"},
		"icap://scanner.example/avscan?x=1": {ICAP: "icap://scanner.example/avscan?x=1"}, "icaps://scanner.example:11344/avscan": {ICAP: "icaps://scanner.example:11344/avscan"},
	} {
		c, err := Load([]string{"--directory=file:u", "--file-scan=" + text}, noEnv)
		if err != nil || c.FileScan != want || c.FileScan.Scanner() == nil {
			t.Errorf("file-scan %q is %+v, %v", text, c.FileScan, err)
		}
	}
	if s := (FileScan{}).Scanner(); s != nil {
		t.Errorf("without the option there is %T", s)
	}
}

// X5: what guests are told by push services, and who tells it.
func TestPushOptionsSayWhatTheyMean(t *testing.T) {
	for text, want := range map[string]push.Telling{"off": "", "nothing": push.Nothing, "name": push.Name, "text": push.Text} {
		if c, err := Load([]string{"--directory=file:u", "--push", text}, noEnv); err != nil || c.Push != want {
			t.Errorf("push %q is %q, %v", text, c.Push, err)
		}
	}
	for args, want := range map[string]string{
		"": "mailto:postmaster@guest.example", "--mail=smtp://x --mail-from=i@cc.com": "mailto:i@cc.com", "--public-url=https://chat.cc.com": "https://chat.cc.com",
		"--mail=smtp://x --mail-from=i@cc.com --push-contact=mailto:ops@cc.com": "mailto:ops@cc.com", "--push-contact=https://cc.com/us": "https://cc.com/us",
	} {
		c, err := Load(append(strings.Fields(args), "--directory=file:u"), noEnv)
		if err != nil || c.pushContact(c.BaseURL("127.0.0.1:8080")) != want {
			t.Errorf("%q: contact %q, %v, want %q", args, c.pushContact(c.BaseURL("127.0.0.1:8080")), err, want)
		}
	}
	key := write(t, "push-key", "q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94\n")
	c, err := Load([]string{"--directory=file:u", "--push-key=@" + key}, noEnv)
	if want, _ := push.ParseKey("q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94"); err != nil || c.PushKey == nil || *c.PushKey != want {
		t.Errorf("push-key: %v", err)
	}
	if _, err := Load([]string{"--directory=file:u", "--push-key=hush"}, noEnv); err == nil || strings.Contains(err.Error(), "hush") {
		t.Errorf("Load(push-key=hush) = %v", err)
	}
}

// F02, F03: centres, their accounts and their settings.
func TestCentresAreParsed(t *testing.T) {
	password := write(t, "smpp", "hush\n")
	c, err := Load([]string{"--directory=file:x",
		"--sms=smpps://me:@" + password + "@smsc.cc.com,spare.cc.com:3551,smpp://you:h%40sh@[::1]?from=%2B8613800000000&window=50&rate=20.5&bind=pair&version=5.0&long=sar&national=tr+es&region=de&system-type=x&packed=true",
		"--mms=mm7+https://me:@" + password + "@mmsc.cc.com:8443/a/b?vasp=v&vas=w&from=12345"}, noEnv)
	if err != nil {
		t.Fatal(err)
	}
	centres := []Centre{{"smsc.cc.com:3550", true, "me", "hush"}, {"spare.cc.com:3551", true, "me", "hush"}, {"[::1]:2775", false, "you", "h@sh"}}
	s := c.SMS
	if !slices.Equal(s.Centres, centres) || s.From.String() != "+8613800000000" || s.Window != 50 || s.Rate != 20.5 || !s.Pair || s.Version != 0x50 || s.SystemType != "x" ||
		s.Style.Long != "sar" || len(s.Style.National) != 3 || !s.Style.Packed || s.Region != "DE" {
		t.Errorf("sms %+v", *s)
	}
	if want := (MMS{"https://mmsc.cc.com:8443/a/b", "me", "hush", "v", "w", "12345"}); *c.MMS != want {
		t.Errorf("mms %+v, want %+v", *c.MMS, want)
	}
	if shown := fmt.Sprintf("%+v %+v", *c.SMS, *c.MMS); strings.Contains(shown, "hush") || strings.Contains(shown, "h@sh") {
		t.Errorf("printing the configuration shows a password: %s", shown)
	}
	list, err := Load([]string{"--config", write(t, "latchkey.yaml", "directory: file:x\nsms:\n  - smpp://me:a@one.cc.com?window=3\n  - smpp://me:b@two.cc.com\n")}, noEnv)
	if err != nil || len(list.SMS.Centres) != 2 || list.SMS.Centres[1].Password != "b" || list.SMS.Window != 3 {
		t.Errorf("list = %+v, %v", list.SMS, err)
	}
}

// R33: file-store is a directory, or a bucket with a key whose secret is not shown.
func TestFileStoreIsADirectoryOrABucket(t *testing.T) {
	secret := write(t, "secret", "s/e+c@ret\n")
	load := func(v string) (Config, error) { return Load([]string{"--directory=file:x", "--file-store", v}, noEnv) }
	for v, want := range map[string]FileBucket{
		"s3://bucket": {Endpoint: "https://s3.amazonaws.com", Bucket: "bucket"},
		"s3://AK:@" + secret + "@my.bucket/a/b/?endpoint=http://127.0.0.1:9000/&region=eu-1": {Endpoint: "http://127.0.0.1:9000", Region: "eu-1", Bucket: "my.bucket", Prefix: "a/b/", KeyID: "AK", Secret: "s/e+c@ret"},
		"s3://AK:s%2Fe+c@bucket/a?endpoint=https://s3.example.com":                           {Endpoint: "https://s3.example.com", Bucket: "bucket", Prefix: "a/", KeyID: "AK", Secret: "s/e+c"},
	} {
		c, err := load(v)
		if err != nil || c.FileBucket == nil || c.FileStore != "" || !reflect.DeepEqual(*c.FileBucket, want) {
			t.Errorf("--file-store %s = %+v, %v", v, c.FileBucket, err)
			continue
		}
		if shown := fmt.Sprintf("%+v %#v", *c.FileBucket, *c.FileBucket); want.Secret != "" && strings.Contains(shown, "s/e+c") {
			t.Errorf("printing the configuration shows the secret: %s", shown)
		}
	}
	if c, err := load("/var/files"); err != nil || c.FileStore != "/var/files" || c.FileBucket != nil {
		t.Errorf("a directory is %q, %+v, %v", c.FileStore, c.FileBucket, err)
	}
	for v, want := range map[string]string{
		"s3://":                               "no name of a bucket",
		"s3://a/b":                            "no name of a bucket",
		"s3://AK@bucket":                      "both the id and the secret",
		"s3://:x@bucket":                      "both the id and the secret",
		"s3://@bucket":                        "both the id and the secret",
		"s3://bucket?endpoint=s3.example.com": "endpoint",
		"s3://bucket?endpoint=https://h/path": "endpoint",
		"s3://bucket?endpont=https://h":       "there are endpoint, region and ca",
		"s3://bucket?ca=/nowhere":             "/nowhere",
		"gs://bucket":                         "there is s3",
	} {
		if _, err := load(v); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("--file-store %s: %v, want %q", v, err, want)
		}
	}
}
