// Package gateway wires the rooms together and decides nothing: Config -> New -> Run -> Shutdown.
//
// It is the only place that knows everybody. Where two rooms meet in types richer than
// the root vocabulary, the adapter stands here: channel.go and incoming.go join SIP
// dialogs with MSRP sessions for conversation. Several gateways live in one process.
package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"latchkey"
	"latchkey/b2bua"
	"latchkey/conversation"
	"latchkey/directory"
	"latchkey/files"
	"latchkey/guest"
	"latchkey/internal/limit"
	"latchkey/internal/sipua"
	"latchkey/notify"
	"latchkey/notify/mail"
	"latchkey/notify/wording"
	"latchkey/presence"
	"latchkey/push"
	"latchkey/registrar"
	"latchkey/storage"
)

// GCPercent is what a process that runs a gateway sets with debug.SetGCPercent, unless its operator wants something else (GOGC). What calls
// leave behind is then marked half as often as by default: an eighth of the CPU time of signalling (docs/explanation/sip-figures.md).
const GCPercent = 200

// Gateway is one Latchkey: every room, and the sockets that they listen on.
type Gateway struct {
	config Config
	log    *slog.Logger

	db          *storage.DB
	ledger      ledger
	directory   userCentre
	remote      *directory.HTTP // the directory, where it is one over HTTP
	inquiries   *inquiries      // what it was asked
	sip         *sipua.Endpoint
	sipTLS      *sipTLS
	engine      *b2bua.Engine
	msrp        *msrpPorts
	registrar   *registrar.Registrar
	keeper      accountKeeper // the registrar, or who has guests in the core without registering them
	lookout     *registrar.Lookout
	words       chan word // from the lookout, for presence and conversations
	board       *presence.Board
	hall        *conversation.Hall
	desk        *guest.Desk
	files       *files.Vault
	fileMetrics *fileMetrics
	uploads     *files.Vault  // of inviters' phones, for the content server; nil: there is none
	scanner     files.Scanner // of the vault; nil: nobody looks
	texts       *wording.Book
	courier     *notify.Courier
	teller      atomic.Pointer[notify.Courier] // of outcomes; nil until the rooms are wired
	back        chan latchkey.Address          // inviters who are there again, for the teller
	writers     *limit.Window                  // inviters who have shown by a message lately that they are there
	mail        *mailChannel                   // nil: there is none
	sms         *smsChannel                    // nil: there is none
	mms         *mmsChannel                    // nil: there is none
	front       *front
	crier       *push.Crier // nil: guests who are away aren't called

	bounces        *mail.BounceServer // nil: there is none
	bounceListener net.Listener

	stop    context.CancelFunc // ends what Run runs in the background
	ctx     context.Context
	core    netip.Addr // of sip-core
	begin   sync.Mutex // held where something begins, and where stop says that nothing does any more
	running sync.WaitGroup
	once    sync.Once
	over    chan struct{} // closed when Shutdown is through
}

// userAgent is what User-Agent and Server say.
const userAgent = "Latchkey"

// New opens the data file and binds all listeners; port 0 works, and Addrs tells. Nothing is
// served before Run. A nil log discards.
func New(c Config, log *slog.Logger) (*Gateway, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	g := &Gateway{config: c, log: log, over: make(chan struct{}), words: make(chan word, maxWords), back: make(chan latchkey.Address, maxWords), writers: limit.NewWindow(1, time.Minute, maxWords)}
	g.ctx, g.stop = context.WithCancel(context.Background())
	if err := g.open(); err != nil {
		g.close()
		return nil, err
	}
	g.wire()
	return g, nil
}

// open takes hold of all that may fail: files and sockets.
func (g *Gateway) open() (err error) {
	c := g.config
	if err = g.openDirectory(); err != nil {
		return err
	}
	if g.db, err = storage.Open(g.ctx, c.Data, storage.Options{Ended: g.noticeEnded, Log: g.log}); err != nil {
		return err
	}
	g.ledger = newLedger(g.db)
	if err = g.openFiles(); err != nil {
		return fmt.Errorf("file-store: %w", err)
	}
	if err = g.openMail(); err != nil {
		return err
	}
	if g.sipTLS, err = newSIPTLS(c); err != nil {
		return err
	}
	if g.sip, err = sipua.Listen(sipua.Options{Listen: c.SIPListen, UserAgent: userAgent, TLS: g.sipTLS.options(), StandIns: c.standIns(), Origins: c.WSOrigins, ServeAll: c.ServeAll, Log: g.log}); err != nil {
		return fmt.Errorf("sip-listen: %w", err)
	}
	if g.front, err = newFront(c); err != nil {
		return err
	}
	if err = g.openPush(); err != nil {
		return fmt.Errorf("push: %w", err)
	}
	g.core = g.coreAddr()
	if g.msrp, err = openMSRP(c.MSRPListen, c.WSOrigins, g.front.certificate(), g.core, g.log); err != nil {
		return fmt.Errorf("msrp-listen: %w", err)
	}
	return nil
}

// wire makes the rooms and introduces them to each other. Nothing here can fail.
func (g *Gateway) wire() {
	c, log, auth := g.config, g.log, g.auth()
	g.registrar = registrar.New(g.db, g.sip, registrar.Options{
		Core: c.SIPCore, IMServer: c.interactionServer(c.IMServer), FileServer: c.interactionServer(c.FileServer), Auth: auth, Expires: c.SIPRegisterExpires, Timeout: c.coreTimeout(),
		Tags: presence.OwnTags().Params(), Log: log,
		Kept: func(a latchkey.AccountID) { g.lookout.FollowGuest(a) }, Left: func(a latchkey.AccountID) { g.lookout.LeaveGuest(a) },
	})
	g.lookout = g.newLookout()
	account := g.accounts()
	g.board = presence.New(g.sip, presence.Options{
		Core: c.SIPCore, Credentials: auth.Credentials, Hop: g.registrar.Hop, ServiceRoute: g.registrar.ServiceRoute, Identity: g.registrar.Identity,
		Originate: account.asServer(), Returned: g.returned, Log: log,
	})
	g.engine = b2bua.New(g.sip, b2bua.Options{Core: c.SIPCore, Trusted: c.SIPTrusted, Log: log})
	w := &wire{
		engine: g.engine, ports: g.msrp, peers: newPeerPolicy(c.MSRPPeers, g.core),
		account: account, log: log,
	}
	g.hall = conversation.New(g.db, w.dialer(c.Pager), g.keeper, g.board, conversation.Options{
		RequireOnline: c.RequireOnline, Unwanted: g.unwanted, News: g.news, Porter: &porter{w, g.files, g.fileMetrics}, FileWays: c.FileWays, Log: log,
		FilesEarly: g.scanner == nil && c.FileBucket == nil,
	})
	if c.SMS != nil {
		g.sms = newSMS(*c.SMS, g.ledger, stopper{g}, g.texts, log)
	}
	if c.MMS != nil {
		g.mms = newMMS(*c.MMS, g.ledger, g.texts, log)
	}
	g.courier = newCourier(g.db, g.mail, g.sms, g.mms, log)
	g.teller.Store(newTeller(g.db, g.hall, g.texts, log))
	g.desk = guest.New(g.db, g.directory, g.keeper, hallway{talks{g.hall, g.files}, g.lookout}, guest.Options{
		Domain: c.Domain, PublicURL: c.BaseURL(g.front.guests.Addr().String()), Scheme: c.AccountScheme, Allot: g.allotter(), LinkStyle: guest.LinkStyle(c.LinkStyle),
		Policy: guest.Policy{Any: c.InvitePolicy.Any, Level: c.InvitePolicy.Level}, Lifetime: c.AccountLifetime, KeepAccount: c.KeepAccount,
		Targets: c.InviteTargets, Quota: &c.InviteQuota, OptedOut: c.OptedOut, Merge: c.NoticeMerge,
		Channels: channels(c), Online: g.hall.Online, Notify: g.courier.Wake, Log: log,
	})
	keeper := &doorkeeper{desk: g.desk, board: g.board, hall: g.hall, wire: w, files: g.files, parts: g.db, streamsOnly: c.StreamsOnly, inviteBySIP: c.InviteBySIP, log: log}
	newInPath(g, keeper).serve()
	g.serveLookout()
	g.front.serve(g)
}

// unwanted ends the relation of a guest from whom the inviter wants to hear nothing (PROTOCOLS B2.16).
func (g *Gateway) unwanted(rel latchkey.Relation) {
	g.spawn(func() { // ends with the Desk's patience
		if err := g.desk.Farewell(g.ctx, rel.ID, latchkey.Unwanted); err != nil {
			g.log.Warn("relation is not ended yet", latchkey.LogRelation, rel.ID, latchkey.LogError, err)
		}
	})
}

// spawn runs f beside all else; Shutdown waits for it. Once that has begun, nothing begins.
func (g *Gateway) spawn(f func()) {
	g.begin.Lock()
	defer g.begin.Unlock()
	if g.ctx.Err() == nil {
		g.running.Go(f)
	}
}

// coreAddr is the core's address, the zero Addr if it can't be found now.
func (g *Gateway) coreAddr() netip.Addr {
	ctx, cancel := context.WithTimeout(g.ctx, 5*time.Second)
	defer cancel()
	if all := g.sip.Lookup(ctx, g.config.SIPCore); len(all) > 0 {
		return all[0]
	}
	return netip.Addr{}
}

// Addrs are the addresses as bound.
type Addrs struct {
	HTTP  string
	Admin string
	SIP   []sipua.Addr
	MSRP  []string // tcp:host:port, or tls:, ws:, wss:, in the order of msrp-listen

	MailBounce string // "": there is no listener for reports on mails
}

// Addrs tells where the gateway listens.
func (g *Gateway) Addrs() Addrs {
	a := Addrs{HTTP: g.front.guests.Addr().String(), Admin: g.front.admin.Addr().String(), SIP: g.sip.Addrs(), MSRP: g.msrp.addrs()}
	if g.bounceListener != nil {
		a.MailBounce = g.bounceListener.Addr().String()
	}
	return a
}

// URL is the base of invitation links.
func (g *Gateway) URL() string { return g.config.BaseURL(g.Addrs().HTTP) }

// Run takes up what a restart interrupted and serves until Shutdown is through, or ctx ends, which is a Shutdown
// with 30 s of patience. It returns an error if a listener fails.
func (g *Gateway) Run(ctx context.Context) error {
	failed := make(chan error, 1)
	background := func(what string, f func(context.Context) error) {
		g.spawn(func() { // ends with g.ctx or with its listener
			if err := f(g.ctx); err != nil && g.ctx.Err() == nil {
				select {
				case failed <- fmt.Errorf("%s: %w", what, err):
				default:
				}
			}
		})
	}
	// MSRP first: a call that comes in needs it.
	background("msrp", g.msrp.serve)
	for _, resume := range []func(context.Context) error{g.resumeAccounts, g.resumeLookout, g.desk.Resume, g.hall.Resume} {
		if err := resume(g.ctx); err != nil && g.ctx.Err() == nil {
			return errors.Join(fmt.Errorf("resume: %w", err), g.Shutdown(ctx))
		}
	}
	background("registrar", g.runAccounts)
	background("lookout", g.lookout.Run)
	background("presence", g.passWords)
	background("desk", g.desk.Run)
	background("courier", g.deliver)
	background("mail-bounce", g.takeBounces)
	background("outcomes", g.teller.Load().Run)
	background("reminders", g.remind)
	background("files", g.files.Run)
	if g.uploads != nil {
		background("uploads", g.uploads.Run)
	}
	background("http", g.front.run)
	background("admin", g.front.runAdmin)
	g.front.ready.Store(true)
	a := g.Addrs()
	g.log.Info("serving", "url", g.URL(), "http", a.HTTP, "admin", a.Admin, "sip", a.SIP, "msrp", a.MSRP)
	select {
	case err := <-failed:
		return errors.Join(err, g.shutdownWithin(30*time.Second))
	case <-ctx.Done():
		return g.shutdownWithin(30 * time.Second)
	case <-g.over:
		return nil
	}
}

func (g *Gateway) shutdownWithin(d time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	return g.Shutdown(ctx)
}

// Shutdown drains: not ready, no new calls, streams end, then conversations hang up, and at last sockets and
// data are closed. It is not a logout: registrations and relations stay. When ctx ends, what is left is cut off.
func (g *Gateway) Shutdown(ctx context.Context) error {
	var err error
	g.once.Do(func() {
		g.front.ready.Store(false)
		g.engine.Drain()
		err = errors.Join(g.hall.Shutdown(ctx), g.engine.Shutdown(ctx), g.front.shutdown(ctx))
		g.begin.Lock()
		g.stop()
		g.begin.Unlock()
		_ = g.msrp.shutdown(ctx)
		_ = g.board.Close()
		g.running.Wait()
		g.close()
		close(g.over)
	})
	<-g.over
	return err
}

// close lets go of what open took.
func (g *Gateway) close() {
	g.stop()
	if g.front != nil {
		g.front.close()
	}
	if g.msrp != nil {
		g.msrp.close()
	}
	if g.bounceListener != nil {
		_ = g.bounceListener.Close()
	}
	if g.sip != nil {
		_ = g.sip.Close()
	}
	if g.crier != nil {
		g.crier.Close()
	}
	if g.remote != nil {
		_ = g.remote.Close()
	}
	for _, v := range []*files.Vault{g.files, g.uploads} {
		if v != nil {
			_ = v.Close()
		}
	}
	if c, ok := g.scanner.(io.Closer); ok {
		_ = c.Close()
	}
	if g.db != nil {
		if err := g.db.Close(); err != nil {
			g.log.Error("data not closed", latchkey.LogError, err)
		}
	}
}

// Reload takes what can change while running: the directory (the file, or what was kept of an HTTP one's answers) and the TLS files. Another
// option that differs is named in the error, and nothing is changed then.
func (g *Gateway) Reload(c Config) error {
	if err := g.config.sameButFiles(c); err != nil {
		return err
	}
	return errors.Join(g.directory.Reload(), g.front.reloadCertificate(), g.sipTLS.reload())
}
