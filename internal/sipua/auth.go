package sipua

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/emiago/sipgo/sip"
	"github.com/icholy/digest"
)

// Credentials answer a digest challenge. The zero value answers none: a challenge is final then.
type Credentials struct {
	Username string
	Password string
}

// DoAuth is Do with digest authentication (RFC 3261 §22, RFC 8760). The CSeq of req grows with each repeat.
func (e *Endpoint) DoAuth(ctx context.Context, req *sip.Request, c Credentials) (*sip.Response, error) {
	return e.DoAuthNext(ctx, req, c, func() uint32 { return req.CSeq().SeqNo + 1 })
}

// DoAuthNext is DoAuth within a dialog, whose next CSeq number next gives to a repeat.
func (e *Endpoint) DoAuthNext(ctx context.Context, req *sip.Request, c Credentials, next func() uint32) (*sip.Response, error) {
	for ch := (Challenges{}); ; {
		res, err := e.Do(ctx, req)
		if err != nil {
			return nil, err
		}
		again, err := ch.Answer(req, res, c)
		if err != nil || !again {
			return res, err
		}
		req.CSeq().SeqNo = next() // RFC 3261 §22.2
	}
}

// Challenges counts those of one request. The registrar and a proxy may challenge it once each; one more for
// the same credentials is final unless it says stale=true (F14).
type Challenges struct {
	origin, proxy int
	by            string // who challenged last
}

// maxChallenges bounds the repeats of a request, so that stale=true is granted once. registrar sets CSeq
// numbers aside for so many.
const maxChallenges = 2

// Answer puts credentials into req where res challenges it in a way that we can answer, and reports
// whether a repeat makes sense. The repeat takes the next CSeq number.
func (h *Challenges) Answer(req *sip.Request, res *sip.Response, c Credentials) (bool, error) {
	n := &h.origin
	switch {
	case c.Username == "":
		return false, nil
	case res.StatusCode == 407:
		n = &h.proxy
	case res.StatusCode != 401:
		return false, nil
	}
	ch := pickChallenge(res)
	if ch == nil || h.origin+h.proxy >= maxChallenges {
		return false, nil
	}
	// Where another server took over, it knows nothing of the challenge that was answered.
	if *n > 0 && !ch.Stale && h.by == res.Source() {
		return false, nil
	}
	h.by = res.Source()
	*n++
	return true, authorize(req, res.StatusCode, ch, c)
}

// pickChallenge takes the topmost challenge whose algorithm we know (RFC 8760 §2.4).
func pickChallenge(res *sip.Response) *digest.Challenge {
	name := "WWW-Authenticate"
	if res.StatusCode == 407 {
		name = "Proxy-Authenticate"
	}
	for _, h := range res.GetHeaders(name) {
		ch, err := digest.ParseChallenge(h.Value())
		if err != nil {
			continue
		}
		if ch.Algorithm == "" {
			ch.Algorithm = "MD5" // RFC 8760 §2.1
		}
		if digest.CanDigest(ch) && !strings.HasSuffix(strings.ToLower(ch.Algorithm), "-sess") {
			return ch
		}
	}
	return nil
}

// authorize puts the answer to ch into req.
func authorize(req *sip.Request, code int, ch *digest.Challenge, c Credentials) error {
	body := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(req.Body())), nil }
	cred, err := digest.Digest(ch, digest.Options{
		Method: string(req.Method), URI: req.Recipient.String(), GetBody: body, Username: c.Username, Password: c.Password,
	})
	if err != nil {
		return fmt.Errorf("digest: %w", err)
	}
	name := "Authorization"
	if code == 407 {
		name = "Proxy-Authorization"
	}
	req.RemoveHeader(name)
	req.AppendHeader(sip.NewHeader(name, cred.String()))
	return nil
}

// NextChallenge is what a later request may answer without being challenged first: what req answered, with the nonce
// that its response gives for that (RFC 7616 §3.5, nextnonce). It is "" where there is none.
func NextChallenge(req *sip.Request, res *sip.Response) string {
	info, auth := res.GetHeader("Authentication-Info"), req.GetHeader("Authorization")
	if info == nil || auth == nil || !res.IsSuccess() {
		return ""
	}
	next, err := digest.ParseChallenge("Digest " + strings.Replace(info.Value(), "nextnonce=", "nonce=", 1))
	if err != nil || next.Nonce == "" || !strings.Contains(info.Value(), "nextnonce=") {
		return ""
	}
	answered, err := digest.ParseCredentials(auth.Value())
	if err != nil {
		return ""
	}
	ch := digest.Challenge{Realm: answered.Realm, Nonce: next.Nonce, Opaque: answered.Opaque, Algorithm: answered.Algorithm}
	if answered.QOP != "" {
		ch.QOP = []string{answered.QOP}
	}
	return ch.String()
}

// Preauthorize answers in req what NextChallenge gave. A server that forgot its nonce challenges as ever.
func Preauthorize(req *sip.Request, challenge string, c Credentials) error {
	ch, err := digest.ParseChallenge(challenge)
	if err != nil || c.Username == "" {
		return err
	}
	return authorize(req, 401, ch, c)
}
