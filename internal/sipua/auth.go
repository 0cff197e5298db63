package sipua

import (
	"context"
	"fmt"
	"strings"

	"github.com/emiago/sipgo/sip"
	"github.com/icholy/digest"
)

// Credentials answer a digest challenge. The zero value answers none: a challenge is final then.
type Credentials struct {
	Username string
	Password string
}

// DoAuth is Do with digest authentication (RFC 3261 §22, RFC 8760). A second challenge
// for the same credentials is final unless it says stale=true, which is granted once (F14).
func (e *Endpoint) DoAuth(ctx context.Context, req *sip.Request, c Credentials) (*sip.Response, error) {
	stale := 0
	for try := 0; ; try++ {
		res, err := e.Do(ctx, req)
		if err != nil || res.StatusCode != 401 && res.StatusCode != 407 || c.Username == "" {
			return res, err
		}
		ch := pickChallenge(res)
		if ch == nil {
			return res, nil
		}
		if try > 0 {
			if !ch.Stale || stale > 0 {
				return res, nil
			}
			stale++
		}
		if err := authorize(req, res.StatusCode, ch, c); err != nil {
			return nil, err
		}
	}
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

// authorize puts the answer to ch into req, whose CSeq grows by one (RFC 3261 §22.2).
func authorize(req *sip.Request, code int, ch *digest.Challenge, c Credentials) error {
	uri := req.Recipient.String()
	cred, err := digest.Digest(ch, digest.Options{Method: string(req.Method), URI: uri, Username: c.Username, Password: c.Password})
	if err != nil {
		return fmt.Errorf("digest: %w", err)
	}
	name := "Authorization"
	if code == 407 {
		name = "Proxy-Authorization"
	}
	req.RemoveHeader(name)
	req.AppendHeader(sip.NewHeader(name, cred.String()))
	req.CSeq().SeqNo++
	return nil
}

// Answer prepares req for a repeat with credentials, where res challenges it in a way that
// we can answer. It reports whether a repeat makes sense. Used for INVITE, whose
// transactions b2bua runs itself.
func Answer(req *sip.Request, res *sip.Response, c Credentials) (bool, error) {
	if c.Username == "" || res.StatusCode != 401 && res.StatusCode != 407 {
		return false, nil
	}
	ch := pickChallenge(res)
	if ch == nil {
		return false, nil
	}
	return true, authorize(req, res.StatusCode, ch, c)
}
