package files

import (
	"context"
	"errors"
	"sync/atomic"

	"latchkey"
	"latchkey/internal/stranger"
)

// Outcome is what became of a file's bytes, or of a look at them.
type Outcome int

// Outcomes of files: Stored; Refused, since it was not what was promised, too much, or not to be fetched; GivenUp by its sender, or at its end before
// it was whole; Lost by a failure of ours, or of what we need. Of scans: Clean, Harmful, Unscanned. Of attempts to fetch: Fetched, Forbidden by Peers, Failed.
const (
	Stored Outcome = iota
	Refused
	GivenUp
	Lost
	Clean
	Harmful
	Unscanned
	Fetched
	Forbidden
	Failed
	outcomes
)

var outcomeNames = [outcomes]string{"stored", "refused", "given_up", "lost", "clean", "harmful", "unscanned", "fetched", "forbidden", "failed"}

func (o Outcome) String() string { return outcomeNames[o] }

// Those that a file, a scan and an attempt to fetch can have.
var (
	FileOutcomes  = []Outcome{Stored, Refused, Harmful, GivenUp, Lost}
	ScanOutcomes  = []Outcome{Clean, Harmful, Unscanned}
	FetchOutcomes = []Outcome{Fetched, Forbidden, Failed}
)

// counts is what happened since the start.
type counts struct {
	bytes          [3]atomic.Int64
	files          [3][outcomes]atomic.Int64
	scans, fetches [outcomes]atomic.Int64
}

func side(d latchkey.Direction) int {
	switch d {
	case latchkey.ToGuest:
		return 1
	case latchkey.Deposit:
		return 2
	}
	return 0
}

func (c *counts) came(d latchkey.Direction, n int)         { c.bytes[side(d)].Add(int64(n)) }
func (c *counts) ended(d latchkey.Direction, what Outcome) { c.files[side(d)][what].Add(1) }
func (c *counts) scanned(what Outcome)                     { c.scans[what].Add(1) }

// fetched counts an attempt to fetch.
func (c *counts) fetched(err error) {
	switch {
	case err == nil:
		c.fetches[Fetched].Add(1)
	case errors.Is(err, stranger.ErrForbidden):
		c.fetches[Forbidden].Add(1)
	default:
		c.fetches[Failed].Add(1)
	}
}

// outcomeOf is what an error of Commit makes of a file.
func outcomeOf(err error) Outcome {
	switch latchkey.KindOf(err) {
	case latchkey.KindNotFound, latchkey.KindNoRelation:
		return GivenUp
	case latchkey.KindNotAllowed:
		return Harmful
	case latchkey.KindBadRequest, latchkey.KindTooLarge, latchkey.KindQuota:
		return Refused
	}
	return Lost
}

// Bytes is how many bytes came since the start, of files in one direction.
func (v *Vault) Bytes(d latchkey.Direction) int64 { return v.counts.bytes[side(d)].Load() }

// Files is how many files came to that end since the start.
func (v *Vault) Files(d latchkey.Direction, what Outcome) int64 {
	return v.counts.files[side(d)][what].Load()
}

// Scans is how many scans had that outcome since the start.
func (v *Vault) Scans(what Outcome) int64 { return v.counts.scans[what].Load() }

// Held is how many files are kept, those on their way included, and how many bytes they have.
func (v *Vault) Held(ctx context.Context) (n, bytes int64, err error) { return v.rows.HeldFiles(ctx) }

// Fetches is how many attempts to fetch a file of an inviter had that outcome since the start.
func (v *Vault) Fetches(what Outcome) int64 { return v.counts.fetches[what].Load() }
