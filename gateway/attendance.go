package gateway

import (
	"context"

	"github.com/emiago/sipgo/sip"

	"latchkey"
	"latchkey/internal/sipua"
	"latchkey/presence"
	"latchkey/registrar"
)

// newLookout makes the lookout, whose news presence, conversations and the desk are told.
func (g *Gateway) newLookout() *registrar.Lookout {
	c := g.config
	return registrar.NewLookout(g.db, g.sip, registrar.LookoutOptions{
		Core: c.SIPCore, Self: c.Identity(), RegEvent: c.RegEvent, Timeout: c.coreTimeout(), Log: g.log,
		Trusts: func(req *sip.Request) bool { return g.engine.Trusts(req) },
		Related: func(ctx context.Context, a latchkey.Address) (bool, error) {
			relations, err := g.desk.InvitedBy(ctx, a)
			return len(relations) > 0, err
		},
		Gone: func(ctx context.Context, a latchkey.Address) error {
			if c.KeepInviters {
				return nil
			}
			return g.desk.Left(ctx, a)
		},
		Told:         g.told,
		Lost:         g.registrar.Lost,
		Hop:          g.registrar.Hop,
		ServiceRoute: g.registrar.ServiceRoute,
		Credentials:  g.auth().Credentials,
	})
}

// serveLookout lets the lookout have what it takes of the core's requests.
func (g *Gateway) serveLookout() {
	g.engine.On(sip.REGISTER, g.lookout.ServeREGISTER)
	g.engine.On(sip.NOTIFY, g.lookout.ServeNOTIFY)
}

// word is what the core told of a user.
type word struct {
	of latchkey.Address
	registrar.Report
}

// maxWords bounds the words that wait to be passed on. One that finds no room is lost: what it would have told, the next
// question does.
const maxWords = 4096

// told takes a word from the lookout, which must not wait.
func (g *Gateway) told(a latchkey.Address, r registrar.Report) {
	select {
	case g.words <- word{a, r}:
	default:
	}
}

// passWords passes the core's words on, in their order, until ctx ends.
func (g *Gateway) passWords(ctx context.Context) error {
	for {
		select {
		case w := <-g.words:
			if err := g.pass(ctx, w.of, w.Report); err != nil && ctx.Err() == nil {
				g.log.Error("news of an inviter is lost", latchkey.LogInviter, w.of.Identity(), latchkey.LogError, err)
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// pass tells those whom a word concerns, under every name that they know the user by.
func (g *Gateway) pass(ctx context.Context, a latchkey.Address, r registrar.Report) error {
	relations, err := g.desk.InvitedBy(ctx, a)
	if err != nil || len(relations) == 0 {
		return err
	}
	tags := presence.ParseTags(r.Features)
	s := latchkey.Status{State: latchkey.StatusOffline, Checked: r.At}
	if r.Online {
		s = latchkey.Status{State: latchkey.StatusOnline, Chat: tags.Chat(), File: tags.File(), Checked: r.At}
	}
	names := map[string]latchkey.Address{a.String(): a}
	for _, rel := range relations {
		names[string(rel.Inviter)] = rel.Inviter.Address()
		if tel, err := latchkey.ParseAddress("tel:" + rel.InviterTel); err == nil {
			names[tel.String()] = tel
		}
	}
	for _, name := range names {
		if r.Online {
			g.returned(name)
		}
		if r.Doubtful {
			g.board.Ask(name)
		} else {
			g.board.Told(name, s, r.Features != "")
		}
	}
	return nil
}

// hallway is the talks as the desk sees it. Where relations begin and end, the lookout has somebody to look for, or
// nobody any more.
type hallway struct {
	talks
	lookout *registrar.Lookout
}

func (h hallway) Open(ctx context.Context, rel latchkey.Relation) error {
	h.lookout.Follow(rel.Inviter)
	return h.talks.Open(ctx, rel)
}

func (h hallway) Close(ctx context.Context, rel latchkey.Relation, cause latchkey.Cause) error {
	err := h.talks.Close(ctx, rel, cause)
	h.lookout.Follow(rel.Inviter)
	return err
}

// resumeLookout takes up what the lookout was at.
func (g *Gateway) resumeLookout(ctx context.Context) error {
	inviters, err := g.db.Inviters(ctx)
	if err != nil {
		return err
	}
	return g.lookout.Resume(ctx, inviters)
}

// reachable reports whether the guest counts as there for those who ask by OPTIONS.
func (d *doorkeeper) reachable(rel latchkey.Relation) bool {
	return !d.streamsOnly || d.hall.Online(rel.Account)
}

// answerOptions answers OPTIONS that ask for a guest: 404 to whom the guest is nobody, 480 where the guest is away, else with the
// guest's own abilities.
func (d *doorkeeper) answerOptions(t *sipua.Transaction, rel latchkey.Relation) {
	if !d.reachable(rel) {
		_ = t.Respond(sip.StatusTemporarilyUnavailable, "")
		return
	}
	_ = d.board.Answer(t)
}
