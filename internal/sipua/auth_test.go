package sipua

import (
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"
)

// digestOf computes RFC 7616 §3.4 anew from what an Authorization says.
func digestOf(auth, method, password string) string {
	p := map[string]string{}
	for v := range strings.SplitSeq(strings.TrimPrefix(auth, "Digest "), ", ") {
		k, v, _ := strings.Cut(v, "=")
		p[k] = strings.Trim(v, `"`)
	}
	h := func(s string) string {
		var h hash.Hash = md5.New()
		if p["algorithm"] == "SHA-256" {
			h = sha256.New()
		}
		h.Write([]byte(s))
		return hex.EncodeToString(h.Sum(nil))
	}
	a1, a2 := h(p["username"]+":"+p["realm"]+":"+password), h(method+":"+p["uri"])
	want := h(a1 + ":" + p["nonce"] + ":" + p["nc"] + ":" + p["cnonce"] + ":" + p["qop"] + ":" + a2)
	if p["qop"] == "" {
		want = h(a1 + ":" + p["nonce"] + ":" + a2)
	}
	if p["response"] != want {
		return fmt.Sprintf("response %s, want %s", p["response"], want)
	}
	return fmt.Sprintf("%s %s %s nc=%s", p["algorithm"], p["nonce"], p["uri"], p["nc"])
}

// F14, RFC 8760 §2.4, RFC 3261 §22: which challenge is answered, how, and how often.
func TestChallengesAreAnswered(t *testing.T) {
	t.Parallel()
	www := func(params string) []string { return []string{"WWW-Authenticate: Digest realm=\"cc.com\", " + params} }
	proxy := func(params string) []string {
		return []string{"Proxy-Authenticate: Digest realm=\"cc.com\", " + params}
	}
	for _, c := range []struct {
		name   string
		status []string   // of each answer; the last one is final
		fields [][]string // of each answer
		want   []string   // what each repeat says
		code   int
	}{
		{"MD5", []string{"401 No", "200 OK"}, [][]string{www(`nonce="n1", algorithm=MD5, qop="auth"`)}, []string{"MD5 n1 sip:a@cc.com nc=00000001"}, 200},
		{"without algorithm and qop", []string{"401 No", "200 OK"}, [][]string{www(`nonce="n1"`)}, []string{"MD5 n1 sip:a@cc.com nc="}, 200},
		{"the first that is known", []string{"401 No", "200 OK"},
			[][]string{{www(`nonce="n0", algorithm=NEW-1, qop="auth"`)[0], www(`nonce="n1", algorithm=SHA-256, qop="auth"`)[0], www(`nonce="n2", algorithm=MD5, qop="auth"`)[0]}}, []string{"SHA-256 n1 sip:a@cc.com nc=00000001"}, 200},
		{"MD5-sess only", []string{"401 No"}, [][]string{www(`nonce="n1", algorithm=MD5-sess, qop="auth"`)}, nil, 401},
		{"Basic only", []string{"401 No"}, [][]string{{"WWW-Authenticate: Basic realm=\"x\""}}, nil, 401},
		{"no challenge", []string{"401 No"}, nil, nil, 401},
		{"of the proxy", []string{"407 No", "200 OK"}, [][]string{proxy(`nonce="n1", qop="auth"`)}, []string{"MD5 n1 sip:a@cc.com nc=00000001"}, 200},
		{"both", []string{"407 No", "401 No", "200 OK"}, [][]string{proxy(`nonce="n1", qop="auth"`), www(`nonce="n2", qop="auth"`)}, []string{"MD5 n1 sip:a@cc.com nc=00000001", "MD5 n2 sip:a@cc.com nc=00000001"}, 200},
		{"wrong password", []string{"401 No", "401 No"}, [][]string{www(`nonce="n1", qop="auth"`), www(`nonce="n2", qop="auth"`)}, []string{"MD5 n1 sip:a@cc.com nc=00000001"}, 401},
		{"stale once", []string{"401 No", "401 No", "200 OK"}, [][]string{www(`nonce="n1", qop="auth"`), www(`nonce="n2", qop="auth", stale=true`)},
			[]string{"MD5 n1 sip:a@cc.com nc=00000001", "MD5 n2 sip:a@cc.com nc=00000001"}, 200},
		{"stale for ever", []string{"401 No", "401 No", "401 No"}, [][]string{www(`nonce="n1", qop="auth"`), www(`nonce="n2", qop="auth", stale=true`), www(`nonce="n3", qop="auth", stale=true`)},
			[]string{"MD5 n1 sip:a@cc.com nc=00000001", "MD5 n2 sip:a@cc.com nc=00000001"}, 401},
		{"403", []string{"403 No"}, nil, nil, 403},
	} {
		p := newPeer(t, true)
		e := listen(t, nil)
		got := make(chan []string, 1)
		go func() { // ends with the last answer
			var all []string
			for i, status := range c.status {
				a := p.next()
				if want := fmt.Sprintf("%d OPTIONS", 7+i); get(a.text, "CSeq") != want {
					t.Errorf("%s: CSeq %s, want %s", c.name, get(a.text, "CSeq"), want)
				}
				if i > 0 {
					name := "Authorization"
					if strings.HasPrefix(c.status[i-1], "407") {
						name = "Proxy-Authorization"
					}
					all = append(all, digestOf(get(a.text, name), "OPTIONS", "s3cret"))
				}
				var fields []string
				if i < len(c.fields) {
					fields = c.fields[i]
				}
				a.reply(answer(a.text, status, fields...))
			}
			got <- all
		}()
		req := request(t, p, ";transport=tcp") // no repeats to tell apart
		req.CSeq().SeqNo = 7
		res, err := e.DoAuth(bounded(t), req, Credentials{"b", "s3cret"})
		if err != nil || res.StatusCode != c.code {
			t.Errorf("%s: DoAuth = %v, %v, want %d", c.name, res, err, c.code)
		}
		if all := <-got; fmt.Sprint(all) != fmt.Sprint(c.want) {
			t.Errorf("%s: answered by %q, want %q", c.name, all, c.want)
		}
		if n := req.CSeq().SeqNo; n != uint32(6+len(c.status)) {
			t.Errorf("%s: CSeq is %d in the end", c.name, n)
		}
		if len(p.in) > 0 {
			t.Errorf("%s: there came more: %s", c.name, p.next().text)
		}
	}
}

// B1.22, RFC 3261 §22: a server that takes over knows nothing of the challenge that was answered to the one before it, and may ask, too; once.
func TestServerThatTakesOverMayChallenge(t *testing.T) {
	t.Parallel()
	for final, code := range map[string]int{"200 OK": 200, "401 No": 401} {
		first, second := newPeer(t, true), newPeer(t, true)
		e, request := pairOfCores(t, first, second, ";transport=tcp")
		nonce := func(n string) string { return `WWW-Authenticate: Digest realm="cc.com", qop="auth", nonce="` + n + `"` }
		got := make(chan string, 1)
		go func() { // ends with the last answer
			a := first.next()
			a.reply(answer(a.text, "401 No", nonce("n1")))
			a = first.next()
			a.reply(answer(a.text, "503 Busy"))
			a = second.next()
			a.reply(answer(a.text, "401 No", nonce("n2")))
			a = first.next() // a 503 without Retry-After shuns nobody
			a.reply(answer(a.text, "503 Busy"))
			a = second.next()
			a.reply(answer(a.text, final, nonce("n3")))
			got <- digestOf(get(a.text, "Authorization"), "REGISTER", "s3cret")
		}()
		res, err := e.DoAuth(bounded(t), request(sip.REGISTER), Credentials{"b", "s3cret"})
		if err != nil || res.StatusCode != code {
			t.Errorf("DoAuth = %v, %v, want %d", res, err, code)
		}
		if text := <-got; text != "MD5 n2 sip:guest.example nc=00000001" {
			t.Errorf("answered by %s", text)
		}
	}
}

// Without credentials a challenge is final; with next the repeat takes its number.
func TestCredentialsAndNumbers(t *testing.T) {
	t.Parallel()
	p := newPeer(t, true)
	e := listen(t, nil)
	challenge := func() {
		a := p.next()
		a.reply(answer(a.text, "401 No", `WWW-Authenticate: Digest realm="cc.com", nonce="n1"`))
	}
	go challenge()
	if res, err := e.DoAuth(bounded(t), request(t, p, ";transport=tcp"), Credentials{}); err != nil || res.StatusCode != 401 {
		t.Errorf("DoAuth without credentials = %v, %v", res, err)
	}
	go func() {
		challenge()
		a := p.next()
		if get(a.text, "CSeq") != "42 OPTIONS" {
			t.Errorf("CSeq %s", get(a.text, "CSeq"))
		}
		a.reply(answer(a.text, "200 OK"))
	}()
	if res, err := e.DoAuthNext(bounded(t), request(t, p, ";transport=tcp"), Credentials{"b", "x"}, func() uint32 { return 42 }); err != nil || res.StatusCode != 200 {
		t.Errorf("DoAuthNext = %v, %v", res, err)
	}
}

// FuzzChallenge: no challenge makes us fail, and none gets the password.
func FuzzChallenge(f *testing.F) {
	f.Add(`Digest realm="cc.com", nonce="n1", algorithm=MD5, qop="auth,auth-int", stale=TRUE, opaque="x"`)
	f.Add(`Digest realm="cc.com", nonce="n1", qop="auth-int"`)
	f.Add(`Digest realm="a\"b", nonce=`)
	f.Add("Basic")
	f.Fuzz(func(t *testing.T, challenge string) {
		res := sip.NewResponse(401, "No")
		res.AppendHeader(sip.NewHeader("WWW-Authenticate", challenge))
		req, err := NewRequest(sip.OPTIONS, "sip:a@cc.com", "sip:b@guest.example", "sip:a@cc.com")
		if err != nil {
			t.Fatal(err)
		}
		var h Challenges
		if again, _ := h.Answer(req, res, Credentials{"b", "s3cr3t-w0rd"}); again != (req.GetHeader("Authorization") != nil) && again {
			t.Errorf("Answer(%q) = %v, Authorization %v", challenge, again, req.GetHeader("Authorization"))
		}
		if strings.Contains(req.String(), "s3cr3t-w0rd") {
			t.Errorf("the answer to %q holds the password", challenge)
		}
	})
}
