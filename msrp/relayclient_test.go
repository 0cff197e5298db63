package msrp_test

import (
	"context"
	"crypto/md5"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/msrp"
)

// The relay of most tests, as it is configured, and what it gives.
const (
	relayURI = "msrp://relay.example:2855;tcp"
	usePath  = "msrp://relay.example:2855/path0;tcp"
)

// relay is a raw peer that plays a relay.
type relay struct{ *raw }

// startClient connects a client to a relay that the test plays.
func startClient(t *testing.T, opt msrp.RelayOptions) (*msrp.RelayClient, relay) {
	t.Helper()
	ours, theirs := net.Pipe()
	if opt.Relays == nil {
		opt.Relays = []msrp.RelayAccount{{URI: uri(t, relayURI), Username: `al"ice`, Password: "s3cret"}}
	}
	c := msrp.NewRelayClient(ours, opt)
	t.Cleanup(func() { _ = c.Close() })
	return c, relay{newRaw(t, theirs)}
}

// reply answers a request; fields are further lines, each with its \n.
func (r relay) reply(f frame, what, fields string) {
	r.write(fmt.Sprintf("MSRP %s %s\nTo-Path: %s\nFrom-Path: %s\n%s-------%s$\n", f.tid, what, f.get("From-Path"), f.get("To-Path"), fields, f.tid))
}

// grant answers an AUTH with a path.
func (r relay) grant(f frame, path, fields string) {
	r.reply(f, "200 OK", "Use-Path: "+path+"\n"+fields)
}

// auth reads an AUTH.
func (r relay) auth() frame {
	r.t.Helper()
	f := r.read()
	if f.what != "AUTH" || f.hasBody || f.flag != '$' {
		r.t.Errorf("got %+v, want an AUTH", f)
	}
	return f
}

// authorize asks for a path, on a goroutine of its own.
func authorize(t *testing.T, c *msrp.RelayClient) <-chan authorized {
	got := make(chan authorized, 1)
	go func() {
		p, err := c.Authorize(t.Context())
		if err == nil {
			t.Cleanup(func() { _ = p.Close() })
		}
		got <- authorized{p, err}
	}()
	return got
}

type authorized struct {
	path *msrp.RelayPath
	err  error
}

// pathOf plays the plainest relay there is.
func (r relay) pathOf(c *msrp.RelayClient, path, fields string) *msrp.RelayPath {
	r.t.Helper()
	got := authorize(r.t, c)
	r.grant(r.auth(), path, fields)
	p := <-got
	if p.err != nil {
		r.t.Fatalf("Authorize = %v", p.err)
	}
	return p.path
}

var parameter = regexp.MustCompile(`(\w+)=(?:"((?:[^"\\]|\\.)*)"|([^\s,]+))`)

// proof takes an Authorization apart and computes what its response must be (RFC 7616 §3.4.1), and rspauth.
func proof(f frame, hash func(string) string) (p map[string]string, response, rspauth string) {
	p = map[string]string{}
	for _, m := range parameter.FindAllStringSubmatch(strings.TrimPrefix(f.get("Authorization"), "Digest "), -1) {
		p[m[1]] = strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(m[2]) + m[3]
	}
	hops := strings.Fields(f.get("To-Path"))
	compute := func(method string) string {
		return hash(hash(p["username"]+":"+p["realm"]+":s3cret") + ":" + p["nonce"] + ":" + p["nc"] + ":" + p["cnonce"] + ":auth:" + hash(method+":"+hops[len(hops)-1]))
	}
	return p, compute("AUTH"), compute("")
}

func md5Hex(s string) string    { return fmt.Sprintf("%x", md5.Sum([]byte(s))) }
func sha256Hex(s string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(s))) }

// B4.20 (RFC 4976 §5.1, §9.1): AUTH goes to the relay's URI from ours, is challenged, and is answered by digest: MD5, or SHA-256 where it is
// offered. The Use-Path is for the one direction, and turned round for the other. The nonce is used on, counted, and changed as the relay wants.
func TestARelayIsAskedForAPath(t *testing.T) {
	for name, hash := range map[string]func(string) string{"MD5": md5Hex, "SHA-256": sha256Hex} {
		t.Run(name, func(t *testing.T) {
			c, r := startClient(t, msrp.RelayOptions{Advertise: "alice.example", Expires: 90 * time.Second})
			got := authorize(t, c)
			f := r.auth()
			if f.get("To-Path") != relayURI || !regexp.MustCompile(`^msrp://alice\.example:2855/[0-9a-f]{32};tcp$`).MatchString(f.get("From-Path")) || f.get("Authorization") != "" || f.get("Expires") != "90" {
				t.Errorf("AUTH %+v", f)
			}
			fields := "WWW-Authenticate: Digest realm=\"the \\\"r\\\"\", nonce=\"n1\", qop=\"auth\", opaque=\"op\"\n"
			if name != "MD5" {
				fields = "WWW-Authenticate: Basic realm=\"x\"\n" + fields + "www-authenticate: Digest realm=\"the \\\"r\\\"\", nonce=\"n1\", qop=\"auth\", algorithm=SHA-256, opaque=\"op\"\n"
			}
			r.reply(f, "401 Unauthorized", fields)
			f2 := r.auth()
			p, response, rspauth := proof(f2, hash)
			if p["response"] != response || p["username"] != `al"ice` || p["realm"] != `the "r"` || p["nonce"] != "n1" || p["nc"] != "00000001" || p["qop"] != "auth" || p["opaque"] != "op" || p["uri"] != relayURI || p["cnonce"] == "" {
				t.Errorf("Authorization %s, want response %s", f2.get("Authorization"), response)
			}
			if f2.tid == f.tid || f2.get("From-Path") != f.get("From-Path") {
				t.Errorf("the second AUTH %+v has the transaction of the first, or another session", f2)
			}
			r.grant(f2, "msrp://in.example:1/a;tcp msrp://out.example:2/b;tcp", "Expires: 60\nAuthentication-Info: rspauth=\""+rspauth+"\", cnonce=\""+p["cnonce"]+"\", nc=00000001, qop=auth\n")
			path := (<-got).path
			if path == nil {
				t.Fatal("no path")
			}
			own := f.get("From-Path")
			if path.Local().String() != own || path.Via().String() != "msrp://in.example:1/a;tcp msrp://out.example:2/b;tcp" || path.Path().String() != "msrp://out.example:2/b;tcp msrp://in.example:1/a;tcp "+own {
				t.Errorf("Local %s, Via %s, Path %s", path.Local(), path.Via(), path.Path())
			}

			got = authorize(t, c)
			f = r.auth()
			if p, response, rspauth = proof(f, hash); p["response"] != response || p["nc"] != "00000002" || p["nonce"] != "n1" || f.get("From-Path") == own {
				t.Errorf("the next AUTH %+v, want the old nonce, counted, and a session of its own", f)
			}
			r.grant(f, usePath, "Authentication-Info: nextnonce=\"n2\", rspauth="+rspauth+"\n")
			if p := <-got; p.err != nil {
				t.Fatal(p.err)
			}
			got = authorize(t, c)
			f = r.auth()
			if p, response, _ = proof(f, hash); p["response"] != response || p["nc"] != "00000001" || p["nonce"] != "n2" {
				t.Errorf("the AUTH after nextnonce %+v", f)
			}
			// An old nonce is no wrong password.
			r.reply(f, "401 Unauthorized", "WWW-Authenticate: Digest realm=\"r\", nonce=\"n3\", qop=\"auth\"\n")
			r.reply(r.auth(), "401 Unauthorized", "WWW-Authenticate: Digest realm=\"r\", nonce=\"n4\", qop=\"auth\", stale=true\n")
			f = r.auth()
			if p, response, _ = proof(f, md5Hex); p["response"] != response || p["nonce"] != "n4" || p["nc"] != "00000001" {
				t.Errorf("the AUTH after stale=true %+v", f)
			}
			r.grant(f, usePath, "")
			if p := <-got; p.err != nil {
				t.Errorf("Authorize after a stale nonce = %v", p.err)
			}
		})
	}
}

// B4.20 (RFC 4976 §5.1): 423 says which times are taken, and one of them is asked for.
func TestTheRelaysBoundsOfTimeAreHeeded(t *testing.T) {
	c, r := startClient(t, msrp.RelayOptions{Expires: 1500 * time.Millisecond})
	got := authorize(t, c)
	f := r.auth()
	if f.get("Expires") != "2" {
		t.Errorf("Expires %s, want 2", f.get("Expires"))
	}
	r.reply(f, "423 Interval Out-of-Bounds", "Min-Expires: 600\n")
	if f = r.auth(); f.get("Expires") != "600" {
		t.Errorf("Expires %s after Min-Expires: 600", f.get("Expires"))
	}
	r.reply(f, "423 Interval Out-of-Bounds", "Max-Expires: 300\n")
	if f = r.auth(); f.get("Expires") != "300" {
		t.Errorf("Expires %s after Max-Expires: 300", f.get("Expires"))
	}
	r.grant(f, usePath, "")
	if p := <-got; p.err != nil {
		t.Errorf("Authorize = %v", p.err)
	}
}

// B4.20: each way in which a relay can say no, or say what is no use, ends with an error that tells.
func TestRelaysThatRefuseOrMumble(t *testing.T) {
	challenge := func(more string) string {
		return "WWW-Authenticate: Digest realm=\"r\", nonce=\"n\", qop=\"auth\"" + more + "\n"
	}
	for name, c := range map[string]struct {
		replies []string // status and fields; the last one is repeated
		asked   int
		code    int    // of a StatusError
		want    string // in the error
	}{
		"wrong password":           {[]string{"401 Unauthorized\n" + challenge("")}, 2, 401, "relay.example"},
		"stale for ever":           {[]string{"401 Unauthorized\n" + challenge(", stale=true")}, 8, 0, "again and again"},
		"no challenge":             {[]string{"401 Unauthorized\n"}, 1, 0, "without a challenge"},
		"basic":                    {[]string{"401 Unauthorized\nWWW-Authenticate: Basic realm=\"r\"\n"}, 1, 0, "Basic"},
		"MD5-sess":                 {[]string{"401 Unauthorized\n" + challenge(", algorithm=MD5-sess")}, 1, 0, "MD5-sess"},
		"forbidden":                {[]string{"403 Forbidden\n"}, 1, 403, "relay.example"},
		"no relay":                 {[]string{"501 Unknown method\n"}, 1, 501, ""},
		"out of bounds, no bounds": {[]string{"423 Out of bounds\n"}, 1, 423, ""},
		"bounds that cross":        {[]string{"423 Out of bounds\nMin-Expires: 20\nMax-Expires: 10\n"}, 2, 423, ""},
		"no path":                  {[]string{"200 OK\n"}, 1, 0, "no Use-Path"},
		"a path of nothing":        {[]string{"200 OK\nUse-Path: nowhere\n"}, 1, 0, "Use-Path"},
		"a path without session":   {[]string{"200 OK\nUse-Path: " + relayURI + "\n"}, 1, 0, "session id"},
		"a path that loops":        {[]string{"200 OK\nUse-Path: " + usePath + " msrp://b:1/x;tcp MSRP://Relay.example:2855/path0;TCP\n"}, 1, 0, "loops"},
		"a path to ourselves":      {[]string{"200 OK\nUse-Path: " + usePath + " OWN\n"}, 1, 0, "loops"},
		"expired":                  {[]string{"200 OK\nUse-Path: " + usePath + "\nExpires: 0\n"}, 1, 0, "expired"},
		"somebody else":            {[]string{"401 Unauthorized\n" + challenge(""), "200 OK\nUse-Path: " + usePath + "\nAuthentication-Info: rspauth=\"0123456789abcdef0123456789abcdef\"\n"}, 2, 0, "rspauth"},
		"a proof for another":      {[]string{"401 Unauthorized\n" + challenge(""), "200 OK\nUse-Path: " + usePath + "\nAuthentication-Info: cnonce=\"x\"\n"}, 2, 0, "rspauth"},
		"a proof without end":      {[]string{"401 Unauthorized\n" + challenge(""), "200 OK\nUse-Path: " + usePath + "\nAuthentication-Info: cnonce=\"x\n"}, 2, 0, "quotes"},
	} {
		t.Run(name, func(t *testing.T) {
			client, r := startClient(t, msrp.RelayOptions{})
			got := authorize(t, client)
			asked := make(chan int, 1)
			go func() { // ends with the connection
				n := 0
				for ; ; n++ {
					f, err := r.tryRead()
					if err != nil {
						break
					}
					what, fields, _ := strings.Cut(c.replies[min(n, len(c.replies)-1)], "\n")
					r.reply(f, what, strings.ReplaceAll(fields, "OWN", f.get("From-Path")))
				}
				asked <- n
			}()
			res := <-got
			status, _ := errors.AsType[*msrp.StatusError](res.err)
			if res.err == nil || !strings.Contains(res.err.Error(), c.want) || (status != nil) != (c.code != 0) || status != nil && status.Code != c.code {
				t.Errorf("Authorize = %v, want %d %q", res.err, c.code, c.want)
			}
			_ = client.Close()
			if n := <-asked; n != c.asked {
				t.Errorf("the relay was asked %d times, want %d", n, c.asked)
			}
		})
	}
}

// B4.20: without a username there is nothing to answer with; a relay that is silent, and a caller who doesn't wait, end it.
func TestAuthorizeEnds(t *testing.T) {
	t.Run("no username", func(t *testing.T) {
		c, r := startClient(t, msrp.RelayOptions{Relays: []msrp.RelayAccount{{URI: uri(t, relayURI)}}})
		got := authorize(t, c)
		r.reply(r.auth(), "401 Unauthorized", "WWW-Authenticate: Digest realm=\"r\", nonce=\"n\", qop=\"auth\"\n")
		if status, _ := errors.AsType[*msrp.StatusError]((<-got).err); status == nil || status.Code != 401 {
			t.Errorf("Authorize = %v, want 401", status)
		}
	})
	t.Run("wrong password", func(t *testing.T) {
		c, r := startClient(t, msrp.RelayOptions{})
		got := authorize(t, c)
		for range 2 {
			r.reply(r.auth(), "401 Unauthorized", "WWW-Authenticate: Digest realm=\"r\", nonce=\"n\", qop=\"auth\"\n")
		}
		if res := <-got; res.err == nil {
			t.Error("Authorize has a path")
		}
		got = authorize(t, c)
		f := r.auth()
		if f.get("Authorization") != "" {
			t.Errorf("what was refused is sent again: %+v", f)
		}
		r.grant(f, usePath, "")
		<-got
	})
	t.Run("silence", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c, r := startClient(t, msrp.RelayOptions{Timeout: 5 * time.Second})
			start, got := time.Now(), authorize(t, c)
			r.auth()
			status, _ := errors.AsType[*msrp.StatusError]((<-got).err)
			if status == nil || status.Code != 408 || time.Since(start) != 5*time.Second {
				t.Errorf("Authorize = %v after %v, want 408 after 5 s", status, time.Since(start))
			}
			_ = c.Close()
			synctest.Wait()
		})
	})
	t.Run("impatience", func(t *testing.T) {
		c, r := startClient(t, msrp.RelayOptions{})
		ctx, cancel := context.WithCancel(t.Context())
		got := make(chan error, 1)
		go func() { _, err := c.Authorize(ctx); got <- err }()
		f := r.auth()
		cancel()
		if err := <-got; !errors.Is(err, context.Canceled) {
			t.Errorf("Authorize = %v, want Canceled", err)
		}
		r.grant(f, usePath, "") // comes too late, and harms nobody
		r.pathOf(c, usePath, "")
	})
	t.Run("the end of the connection", func(t *testing.T) {
		c, r := startClient(t, msrp.RelayOptions{})
		got := authorize(t, c)
		r.auth()
		_ = r.nc.Close()
		if res := <-got; res.err == nil {
			t.Error("Authorize has a path without a connection")
		}
		<-c.Done()
		if _, err := c.Authorize(t.Context()); err == nil || c.Err() == nil {
			t.Errorf("Authorize on what is over = %v, Err = %v", err, c.Err())
		}
	})
}

// B4.20 (RFC 4976 §5.1): the way through two relays. AUTH to the outer one goes by what the inner one gave, with credentials of its own.
func TestRelaysBehindRelays(t *testing.T) {
	const outer = "msrp://outer.example:2855;tcp"
	c, r := startClient(t, msrp.RelayOptions{Relays: []msrp.RelayAccount{
		{URI: uri(t, relayURI), Username: "alice", Password: "other"}, {URI: uri(t, outer), Username: "bob", Password: "s3cret"},
	}})
	got := authorize(t, c)
	r.grant(r.auth(), usePath, "")
	f := r.auth()
	if f.get("To-Path") != usePath+" "+outer {
		t.Errorf("To-Path %s, want the inner relay's path, then the outer relay", f.get("To-Path"))
	}
	r.reply(f, "401 Unauthorized", "WWW-Authenticate: Digest realm=\"o\", nonce=\"n\", qop=\"auth\"\n")
	f = r.auth()
	if p, response, _ := proof(f, md5Hex); p["response"] != response || p["username"] != "bob" || p["uri"] != outer {
		t.Errorf("Authorization %s", f.get("Authorization"))
	}
	r.grant(f, usePath+" msrp://outer.example:2855/o;tcp", "")
	res := <-got
	if res.err != nil {
		t.Fatal(res.err)
	}
	if want := "msrp://outer.example:2855/o;tcp " + usePath + " " + res.path.Local().String(); res.path.Path().String() != want {
		t.Errorf("Path = %s, want %s", res.path.Path(), want)
	}
}

// B4.20, B4.10, B4.12 (RFC 4976 §5.1, §6): what sessions send through a relay has its paths: the relay, then the peer, in To-Path, ourselves alone in
// From-Path. Responses go to the relay alone, reports the whole way back. Two sessions share the connection, one active, one
// passive, and the end of one is not the other's.
func TestSessionsThroughARelayHaveItsPaths(t *testing.T) {
	c, r := startClient(t, msrp.RelayOptions{})
	pa, pb := r.pathOf(c, usePath, ""), r.pathOf(c, "msrp://relay.example:2855/path1;tcp", "")
	atA, atB := newInbox(), newInbox()
	a := pa.NewSession(msrp.SessionOptions{Remote: msrp.Path{uri(t, "msrp://far.example:9/f;tcp"), uri(t, peerURI)}, Handler: atA})
	b := pb.NewSession(msrp.SessionOptions{Handler: atB})
	pb.Expect(b)
	b.SetRemote(msrp.Path{uri(t, peerURI)})
	bound := make(chan error, 1)
	go func() { bound <- pa.Connect(t.Context(), a) }()
	f := r.read()
	const toPeer = usePath + " msrp://far.example:9/f;tcp " + peerURI
	if f.what != "SEND" || f.get("To-Path") != toPeer || f.get("From-Path") != pa.Local().String() || f.hasBody {
		t.Errorf("first SEND %+v, want it empty, to %s", f, toPeer)
	}
	r.ok(f)
	if err := <-bound; err != nil {
		t.Fatalf("Connect = %v", err)
	}
	select {
	case <-b.Bound():
		t.Error("a passive session is bound before its peer has come")
	default:
	}

	// The relay has put itself before the peer.
	r.us, r.from = pb.Local().String(), "msrp://relay.example:2855/path1;tcp "+peerURI
	r.bind("tidb0")
	if f := r.expect("tidb0", "200"); f.get("To-Path") != "msrp://relay.example:2855/path1;tcp" || f.get("From-Path") != r.us {
		t.Errorf("response %+v, want it to the relay alone", f)
	}
	<-b.Bound()
	r.send("tidb1", "m1", "Byte-Range: 1-5/5\n", "Success-Report: yes\n", "hello", '$')
	r.expect("tidb1", "200")
	if f := r.read(); f.what != "REPORT" || f.get("To-Path") != r.from || f.get("From-Path") != r.us || f.get("Status") != "000 200 OK" {
		t.Errorf("report %+v, want it the whole way back", f)
	}
	if got := atB.next(t); got != "hello" {
		t.Errorf("b got %q", got)
	}

	// Each sends through its own path.
	sent := make(chan error, 1)
	say := func(s *msrp.Session, id string) {
		sent <- s.Send(t.Context(), &msrp.Message{ID: id, ContentType: "text/plain", Body: strings.NewReader("hi"), Size: 2})
	}
	go say(a, "ma01")
	if f := r.read(); f.get("To-Path") != toPeer || string(f.body) != "hi" {
		t.Errorf("a's SEND %+v", f)
	} else {
		r.ok(f)
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
	go say(b, "mb01")
	if f := r.read(); f.get("To-Path") != "msrp://relay.example:2855/path1;tcp "+peerURI || f.get("From-Path") != pb.Local().String() {
		t.Errorf("b's SEND %+v", f)
	} else {
		r.ok(f)
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}

	// What isn't ours: another session, hops behind us, a REPORT about it, a response to nothing.
	r.us = "msrp://alice.example:2855/nobody;tcp"
	r.send("tidc0", "m2", "", "", "x", '$')
	r.expect("tidc0", "481")
	r.report("tidc1", "m2", "1-1/1", "000 200 OK")
	waits := r.pathOf(c, "msrp://relay.example:2855/path3;tcp", "")
	w := waits.NewSession(msrp.SessionOptions{})
	waits.Expect(w)
	defer w.Close()
	r.us = strings.Replace(w.Local().String(), "anonymous.invalid", "other.example", 1)
	r.bind("tidc3")
	r.expect("tidc3", "481")
	r.us = pb.Local().String() + " msrp://further.example:1/x;tcp"
	r.send("tidc2", "m3", "", "", "x", '$')
	r.expect("tidc2", "481")
	r.reply(frame{tid: "nothing0", fields: []string{"To-Path: x://y", "From-Path: " + pb.Local().String()}}, "200 OK", "")

	// RFC 4976 §6: the relay tells of a message that it could not pass on, after it had said 200. The other session goes on.
	r.us, r.from = pa.Local().String(), usePath
	r.report("tidd0", "ma01", "1-2/2", "000 408 No response downstream")
	if got := atA.next(t); got != "report ma01 1-2/2 408" {
		t.Errorf("a was told %q", got)
	}
	<-a.Done()
	if status, _ := errors.AsType[*msrp.StatusError](a.Err()); status == nil || status.Code != 408 {
		t.Errorf("a's end = %v, want 408", a.Err())
	}
	go say(b, "mb02")
	r.ok(r.read())
	if err := <-sent; err != nil {
		t.Errorf("Send of the other session = %v", err)
	}
	_ = b.Close()
	r.pathOf(c, "msrp://relay.example:2855/path2;tcp", "") // the connection stays without sessions
	_ = c.Close()
	r.closed()
}

// B4.20: what can't work is refused before anything is sent.
func TestSessionsThatDoNotFitAPathAreRefused(t *testing.T) {
	c, r := startClient(t, msrp.RelayOptions{})
	p, q := r.pathOf(c, usePath, ""), r.pathOf(c, "msrp://relay.example:2855/path1;tcp", "")
	for name, s := range map[string]*msrp.Session{
		"another path's": q.NewSession(msrp.SessionOptions{Remote: msrp.Path{uri(t, peerURI)}}),
		"no remote path": p.NewSession(msrp.SessionOptions{}),
		"a loop":         p.NewSession(msrp.SessionOptions{Remote: msrp.Path{uri(t, usePath), uri(t, peerURI)}}),
		"a loop to us":   p.NewSession(msrp.SessionOptions{Remote: msrp.Path{p.Local()}}),
		"over before now": func() *msrp.Session {
			s := p.NewSession(msrp.SessionOptions{Remote: q.Path()})
			_ = s.Close()
			return s
		}(),
	} {
		if err := p.Connect(t.Context(), s); err == nil || s.Err() == nil {
			t.Errorf("Connect of %s = %v, its end %v", name, err, s.Err())
		}
	}
	// The relay's 481 ends the session alone.
	s := p.NewSession(msrp.SessionOptions{Remote: q.Path()})
	got := make(chan error, 1)
	go func() { got <- p.Connect(t.Context(), s) }()
	r.answer(r.read(), "481 No such session")
	if status, _ := errors.AsType[*msrp.StatusError](<-got); status == nil || status.Code != 481 || s.Err() == nil || c.Err() != nil {
		t.Errorf("Connect = %v, the session's end %v, the client's %v", status, s.Err(), c.Err())
	}
}

// B4.20: with the connection all is over: paths, sessions that are bound, and those that still wait for their peer.
func TestTheEndOfARelaysConnectionEndsAll(t *testing.T) {
	for name, end := range map[string]func(*msrp.RelayClient, relay){
		"by the relay": func(_ *msrp.RelayClient, r relay) { _ = r.nc.Close() },
		"by us":        func(c *msrp.RelayClient, _ relay) { _ = c.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			c, r := startClient(t, msrp.RelayOptions{})
			pa, pb := r.pathOf(c, usePath, "Expires: 900\n"), r.pathOf(c, "msrp://relay.example:2855/path1;tcp", "")
			a, b := pa.NewSession(msrp.SessionOptions{}), pb.NewSession(msrp.SessionOptions{Handler: newInbox()})
			pa.Expect(a)
			pb.Expect(b)
			r.us = b.Local().String()
			r.bind("tidb0")
			r.expect("tidb0", "200")
			end(c, r)
			for _, done := range []<-chan struct{}{c.Done(), pa.Done(), pb.Done(), a.Done(), b.Done()} {
				select {
				case <-done:
				case <-time.After(patience):
					t.Fatal("something lives on")
				}
			}
			late := pa.NewSession(msrp.SessionOptions{})
			if pa.Expect(late); late.Err() == nil {
				t.Error("a session waits on a connection that is lost")
			}
		})
	}
}

// B4.20 (RFC 4976 §5.1): a path is renewed at three quarters of its time, by an AUTH to the Use-Path, for as long as it is wanted.
func TestAPathIsRenewedBeforeItExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, r := startClient(t, msrp.RelayOptions{})
		start := time.Now()
		p := r.pathOf(c, usePath, "Expires: 16\n")
		for i := range 3 {
			f := r.auth()
			if at := time.Since(start); f.get("To-Path") != usePath || f.get("From-Path") != p.Local().String() || at != time.Duration(i+1)*12*time.Second {
				t.Errorf("after %v: %+v, want an AUTH to %s after %d s", at, f, usePath, (i+1)*12)
			}
			r.grant(f, usePath, "Expires: 16\n")
		}
		synctest.Wait()
		_ = p.Close()
		time.Sleep(time.Minute)
		if p.Err() != msrp.ErrClosed || c.Err() != nil {
			t.Errorf("path %v, client %v after the path's Close", p.Err(), c.Err())
		}
		_ = c.Close()
		if f, err := r.tryRead(); err == nil {
			t.Errorf("a closed path is renewed: %+v", f)
		}
		synctest.Wait()
	})
}

// B4.20: how a path ends that is not renewed.
func TestPathsThatAreNotRenewedEnd(t *testing.T) {
	for name, c := range map[string]struct {
		reply func(relay, frame) // to the first AUTH after 12 s; nil: silence, to it and all others
		asked int
		at    time.Duration
		check func(error) bool
	}{
		"refused": {func(r relay, f frame) { r.reply(f, "403 Forbidden", "") }, 1, 12 * time.Second, func(err error) bool {
			status, _ := errors.AsType[*msrp.StatusError](err)
			return status != nil && status.Code == 403
		}},
		"another path": {func(r relay, f frame) { r.grant(f, "msrp://relay.example:2855/other;tcp", "Expires: 16\n") }, 1, 12 * time.Second, func(err error) bool {
			return errors.Is(err, msrp.ErrPathChanged)
		}},
		// Asked at 12 s and, with half of the time left after a second of silence, at 14.5 s; then no time is left for a third try.
		"silence": {nil, 2, 15500 * time.Millisecond, func(err error) bool {
			status, _ := errors.AsType[*msrp.StatusError](err)
			return status != nil && status.Code == 408
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, r := startClient(t, msrp.RelayOptions{Timeout: time.Second})
				start := time.Now()
				p := r.pathOf(client, usePath, "Expires: 16\n")
				s := p.NewSession(msrp.SessionOptions{})
				p.Expect(s)
				asked := make(chan int, 1)
				go func() { // ends with the connection
					n := 0
					for ; ; n++ {
						f, err := r.tryRead()
						if err != nil {
							break
						}
						if c.reply != nil {
							c.reply(r, f)
						}
					}
					asked <- n
				}()
				<-p.Done()
				if at := time.Since(start); !c.check(p.Err()) || at < c.at || at > c.at+500*time.Millisecond {
					t.Errorf("after %v: %v, want it after %v", at, p.Err(), c.at)
				}
				if s.Err() != nil || client.Err() != nil {
					t.Errorf("the path's end ended the session: %v, or the client: %v", s.Err(), client.Err())
				}
				_, _ = s.Close(), client.Close()
				if n := <-asked; n != c.asked {
					t.Errorf("the relay was asked %d times, want %d", n, c.asked)
				}
				synctest.Wait()
			})
		})
	}
}

// B4.20, B4.22 (RFC 4976 §5.1): the relay is known by its certificate, and its scheme and the connection agree.
func TestARelayIsKnownByItsCertificate(t *testing.T) {
	cert, err := msrp.SelfSigned("relay.example")
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	served := make(chan struct{})
	go func() { // ends with the socket
		defer close(served)
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			tc := tls.Server(nc, &tls.Config{Certificates: []tls.Certificate{cert}})
			r := relay{newRaw(t, tc)}
			if f, err := r.tryRead(); err == nil {
				r.grant(f, "msrps://relay.example:2855/path0;tcp", "")
				_, _ = io.Copy(io.Discard, tc)
			}
			_ = nc.Close()
		}
	}()
	t.Cleanup(func() { _ = ln.Close(); <-served })
	var dialed string
	dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
		dialed = addr
		return (&net.Dialer{}).DialContext(ctx, network, ln.Addr().String())
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	options := func(u string) msrp.RelayOptions {
		return msrp.RelayOptions{Relays: []msrp.RelayAccount{{URI: uri(t, u)}}}
	}
	c, err := msrp.ConnectRelay(within(t), dial, &tls.Config{RootCAs: pool}, options("msrps://relay.example;tcp"))
	if err != nil {
		t.Fatalf("ConnectRelay = %v", err)
	}
	p, err := c.Authorize(within(t))
	if err != nil {
		t.Fatalf("Authorize = %v", err)
	}
	if dialed != "relay.example:2855" || !p.Local().Secure {
		t.Errorf("dialed %s, our URI is %s, want the registered port and msrps", dialed, p.Local())
	}
	_, _ = p.Close(), c.Close()
	if _, err := msrp.ConnectRelay(within(t), dial, &tls.Config{RootCAs: pool}, options("msrps://other.example:2855;tcp")); err == nil {
		t.Error("a relay of another name is believed")
	}
	for u, config := range map[string]*tls.Config{"msrp://relay.example:2855;tcp": {RootCAs: pool}, "msrps://relay.example:2855;tcp": nil} {
		if _, err := msrp.ConnectRelay(within(t), dial, config, options(u)); err == nil {
			t.Errorf("%s is taken with TLS: %v", u, config != nil)
		}
	}
	if _, err := msrp.ConnectRelay(within(t), dial, nil, msrp.RelayOptions{}); err == nil {
		t.Error("a client without a relay")
	}
}
