package sipua

import (
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"
)

// table holds the transactions.
type table struct {
	resting resting
	silent  func(mark string) // told of each request that had no response at all

	mu      sync.Mutex
	closed  bool
	clients map[string]*clientTx
	servers map[string]*serverTx
}

// open makes it ready.
func (b *table) open() {
	b.clients, b.servers = map[string]*clientTx{}, map[string]*serverTx{}
}

func (b *table) rest(d time.Duration, tx interface{ rested() }) { b.resting.add(d, tx) }

// ask starts a client transaction: the request leaves.
func (b *table) ask(req *sip.Request, out outlet) (*clientTx, error) {
	key, err := sip.ClientTxKeyMake(req)
	if err != nil {
		return nil, err
	}
	tx := newClientTx(b, key, req, out)
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return nil, errClosed
	}
	b.clients[key] = tx
	b.mu.Unlock()
	if err := tx.begin(); err != nil {
		return nil, err
	}
	return tx, nil
}

func (b *table) dropClient(tx *clientTx) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.clients[tx.key] == tx {
		delete(b.clients, tx.key)
	}
}

func (b *table) dropServer(tx *serverTx) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.servers[tx.key] == tx {
		delete(b.servers, tx.key)
	}
}

// client finds the transaction of a response.
func (b *table) client(res *sip.Response) *clientTx {
	key, err := sip.ClientTxKeyMake(res)
	if err != nil || res.CSeq().MethodName == sip.ACK { // which has no response, and to sipgo is the INVITE's (RFC 3261 §17.1.3)
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.clients[key]
}

// server finds the transaction of a request, or makes one; fresh reports that. err: the request has not what it takes.
func (b *table) server(req *sip.Request, out outlet) (tx *serverTx, fresh bool, err error) {
	key, err := sip.ServerTxKeyMake(req)
	if err != nil {
		return nil, false, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if tx := b.servers[key]; tx != nil || b.closed {
		return tx, false, nil
	}
	tx = newServerTx(b, key, req, out)
	b.servers[key] = tx
	return tx, true, nil
}

// cancellable are the methods whose transaction a CANCEL may name, which has an effect on the first alone.
var cancellable = [...]sip.RequestMethod{
	sip.INVITE, sip.MESSAGE, sip.OPTIONS, sip.REGISTER, sip.SUBSCRIBE, sip.NOTIFY, sip.PUBLISH, sip.REFER, sip.UPDATE, sip.PRACK, sip.INFO, sip.BYE,
}

// cancelled finds the transaction that a CANCEL is for: its method may be anything but ACK and CANCEL (RFC 3261 §9.2).
func (b *table) cancelled(cancel *sip.Request) *serverTx {
	cseq := cancel.CSeq()
	if cseq == nil {
		return nil
	}
	own := cseq.MethodName
	defer func() { cseq.MethodName = own }()
	for _, cseq.MethodName = range cancellable {
		key, err := sip.ServerTxKeyMake(cancel)
		if err != nil {
			return nil
		}
		b.mu.Lock()
		tx := b.servers[key]
		b.mu.Unlock()
		if tx != nil {
			return tx
		}
	}
	return nil
}

// lost ends all transactions that need a connection which has gone.
func (b *table) lost(out outlet) {
	for _, tx := range b.all(func(of outlet) bool { return of == out }) {
		tx.fail(errLost)
	}
}

// close ends all transactions; there will be no more.
func (b *table) close() {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.resting.close()
	for _, tx := range b.all(anywhere) {
		tx.Terminate()
	}
}

func anywhere(outlet) bool { return true }

// transaction is one of either side.
type transaction interface {
	Terminate()
	fail(error)
}

// all lists the transactions that write where they should.
func (b *table) all(of func(outlet) bool) (found []transaction) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, tx := range b.clients {
		if of(tx.out) {
			found = append(found, tx)
		}
	}
	for _, tx := range b.servers {
		if of(tx.out) {
			found = append(found, tx)
		}
	}
	return found
}

func (e *Endpoint) takeRequest(req *sip.Request, from netip.AddrPort, back outlet, came time.Time, number uint32) {
	back = found(req, from, back)
	choose(req)
	if s, ok := back.(*link); ok {
		req.Laddr.Zone = strings.Join(s.peers, " ")
	}
	if req.IsCancel() {
		if tx := e.table.cancelled(req); tx != nil {
			// The 200 goes first, so that the other side stops repeating; then the 487, unless it is too late or no INVITE.
			go func() {
				if put(tx.out, sip.NewResponseFromRequest(tx.tag(req), 200, "OK", nil)) == nil {
					tx.receive(req)
				}
			}()
			return
		}
	}
	tx, fresh, err := e.table.server(req, back)
	switch {
	case err != nil: // what belongs to no transaction has no answer but this (RFC 3261 §8.2)
		if !req.IsAck() {
			go func() { _ = put(back, sip.NewResponseFromRequest(req, 400, "Bad Request", nil)) }()
		}
	case fresh:
		go e.serve(req, tx, came, number)
	case tx != nil:
		go func() { // a connection may take its time
			if !tx.receive(req) {
				e.serve(req, newServerTx(&e.table, "", req, back), came, number)
			}
		}()
	}
}

// tag gives a CANCEL the To tag that answers to its INVITE have (RFC 3261 §9.2).
func (tx *serverTx) tag(cancel *sip.Request) *sip.Request {
	if to := cancel.To(); to != nil && !to.Params.Has("tag") && tx.local != "" {
		to.Params.Add("tag", tx.local)
	}
	return cancel
}

// found writes into the topmost Via where the request came from (RFC 3261 §18.2.1, RFC 3581 §4), and tells where its answers go: over its
// connection; else to its source's address, at the source's port if asked so, and at the Via's if not (§18.2.2).
func found(req *sip.Request, from netip.AddrPort, back outlet) outlet {
	via := req.Via()
	if via == nil {
		return back
	}
	asked, rport := via.Params.Get("rport")
	if sentBy, err := netip.ParseAddr(unbracket(via.Host)); rport || err != nil || sentBy.Unmap() != from.Addr() {
		via.Params.Add("received", from.Addr().String())
	}
	if rport && asked == "" {
		via.Params.Add("rport", strconv.Itoa(int(from.Port())))
	}
	w, ok := back.(*way)
	if !ok || rport {
		return back
	}
	port := via.Port
	if port <= 0 || port > 65535 {
		port = sip.DefaultUdpPort
	}
	return &way{w.socket, netip.AddrPortFrom(from.Addr(), uint16(port))}
}
