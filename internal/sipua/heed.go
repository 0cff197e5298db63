package sipua

import (
	"encoding/hex"
	"fmt"
	"hash/maphash"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"

	"latchkey/internal/dialog"
)

// ErrOverload is of a request that was not sent, since its next hop asks for less (RFC 7339 §5.5), or has been silent for long (§5.9).
var ErrOverload = fmt.Errorf("%w: the next hop is overloaded", ErrTransport)

// neighbours are the next hops that asked for less, by what the branches of requests to them begin with. Its zero value is ready.
type neighbours struct {
	mu    sync.Mutex
	known map[string]*neighbour
}

type neighbour struct {
	loss  float64
	until time.Time
	seq   float64
	due   float64 // refusals owed
}

// mark is what branches of requests to a destination begin with. Nobody else can make one up.
func (n *neighbours) mark(destination string) string {
	const cookie = "z9hG4bK"
	var b [len(cookie) + 8]byte
	copy(b[:], cookie)
	sum := uint32(maphash.String(loadSeed, destination))
	hex.Encode(b[len(cookie):], []byte{byte(sum >> 24), byte(sum >> 16), byte(sum >> 8), byte(sum)})
	return string(b[:])
}

// worthOf sorts a request of ours.
func worthOf(req *sip.Request) class {
	within := false
	if to := req.To(); to != nil {
		_, within = to.Params.Get("tag")
	}
	return worth(string(req.Method), within, dialog.First(req, "Resource-Priority") != nil, req.Recipient.String())
}

func markOf(branch string) string { return branch[:min(len(branch), len("z9hG4bK")+8)] }

// ask writes into a Via that we heed oc (RFC 7339 §5.1).
func ask(params *sip.HeaderParams) {
	params.Add("oc", "")
	params.Add("oc-algo", `"loss"`)
}

// hear takes what a response's topmost Via asks for (RFC 7339 §5.4), and reports whether that is less than all.
func (n *neighbours) hear(res *sip.Response, now time.Time) bool {
	top := res.Via()
	if top == nil {
		return false
	}
	oc, _ := top.Params.Get("oc")
	percent, err := strconv.ParseUint(oc, 10, 8)
	if err != nil || percent > 100 {
		return false
	}
	if algo, has := top.Params.Get("oc-algo"); has && !strings.EqualFold(strings.Trim(algo, `"`), "loss") {
		return false
	}
	validity := ocValidity
	if v, has := top.Params.Get("oc-validity"); has {
		ms, err := strconv.ParseUint(v, 10, 31)
		if err != nil {
			return false
		}
		validity = min(time.Duration(ms)*time.Millisecond, time.Hour)
	}
	seqText, _ := top.Params.Get("oc-seq")
	seq, _ := strconv.ParseFloat(seqText, 64)
	branch, _ := top.Params.Get("branch")
	n.mu.Lock()
	defer n.mu.Unlock()
	mark := markOf(branch)
	at := n.known[mark]
	if at == nil {
		if percent == 0 || validity == 0 {
			return false
		}
		for other, o := range n.known { // those that said nothing for long
			if len(n.known) >= maxNames && now.After(o.until) {
				delete(n.known, other)
			}
		}
		if n.known == nil {
			n.known = map[string]*neighbour{}
		}
		at = &neighbour{}
		n.known[mark] = at
	} else if seq <= at.seq && now.Before(at.until) {
		return percent > 0 // stale, or the same again
	}
	at.loss, at.until, at.seq = float64(percent)/100, now.Add(validity), seq
	return percent > 0
}

// allows reports whether a request that is about to go to a destination may go.
func (n *neighbours) allows(destination string, req *sip.Request, now time.Time) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.known) == 0 {
		return true
	}
	at := n.known[n.mark(destination)]
	if at == nil || !now.Before(at.until) {
		return true // §5.7
	}
	// What must go still counts, so that the others make up for it (§5.3).
	at.due += at.loss
	if at.due < 1 || worthOf(req) == classKept {
		at.due = min(at.due, 100)
		return true
	}
	at.due--
	return false
}
