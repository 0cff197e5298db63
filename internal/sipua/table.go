package sipua

import (
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"
)

// table holds the transactions, which are sipgo's; the connections that they write to are ours.
type table struct {
	mu      sync.Mutex
	closed  bool
	clients map[string]*sip.ClientTx
	servers map[string]*sip.ServerTx
}

func newTable() table {
	return table{clients: map[string]*sip.ClientTx{}, servers: map[string]*sip.ServerTx{}}
}

// ask starts a client transaction: the request leaves.
func (b *table) ask(req *sip.Request, conn sip.Connection) (*sip.ClientTx, error) {
	key, err := sip.ClientTxKeyMake(req)
	if err != nil {
		return nil, err
	}
	tx := sip.NewClientTx(key, req, conn, quiet)
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return nil, errClosed
	}
	b.clients[key] = tx
	b.mu.Unlock()
	tx.OnTerminate(func(key string, _ error) {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.clients, key)
	})
	if err := tx.Init(); err != nil {
		tx.Terminate()
		return nil, err
	}
	return tx, nil
}

// client finds the transaction of a response.
func (b *table) client(res *sip.Response) *sip.ClientTx {
	key, err := sip.ClientTxKeyMake(res)
	if err != nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.clients[key]
}

// server finds the transaction of a request, or makes one; fresh reports that. err: the request has not what it takes.
func (b *table) server(req *sip.Request, conn sip.Connection) (tx *sip.ServerTx, fresh bool, err error) {
	key, err := sip.ServerTxKeyMake(req)
	if err != nil {
		return nil, false, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if tx := b.servers[key]; tx != nil || b.closed {
		return tx, false, nil
	}
	tx = sip.NewServerTx(key, req, conn, quiet)
	if err := tx.Init(); err != nil {
		return nil, false, nil
	}
	b.servers[key] = tx
	tx.OnTerminate(func(key string, _ error) {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.servers, key)
	})
	return tx, true, nil
}

// cancelled finds the INVITE's transaction that a CANCEL is for (RFC 3261 §9.2).
func (b *table) cancelled(cancel *sip.Request) *sip.ServerTx {
	cseq := cancel.CSeq()
	if cseq == nil {
		return nil
	}
	method := cseq.MethodName
	cseq.MethodName = sip.INVITE
	key, err := sip.ServerTxKeyMake(cancel)
	cseq.MethodName = method
	if err != nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.servers[key]
}

// lost ends all transactions of a connection.
func (b *table) lost(conn sip.Connection) {
	var over []interface{ Terminate() }
	b.mu.Lock()
	for _, tx := range b.clients {
		if tx.Connection() == conn {
			over = append(over, tx)
		}
	}
	for _, tx := range b.servers {
		if tx.Connection() == conn {
			over = append(over, tx)
		}
	}
	b.mu.Unlock()
	for _, tx := range over {
		tx.Terminate() // takes the lock again
	}
}

// close ends all transactions; there will be no more.
func (b *table) close() {
	var over []interface{ Terminate() }
	b.mu.Lock()
	b.closed = true
	for _, tx := range b.clients {
		over = append(over, tx)
	}
	for _, tx := range b.servers {
		over = append(over, tx)
	}
	b.mu.Unlock()
	for _, tx := range over {
		tx.Terminate()
	}
}

func (e *Endpoint) takeRequest(req *sip.Request, from netip.AddrPort, back sip.Connection, came time.Time, number uint32) {
	back = found(req, from, back)
	choose(req)
	if s, ok := back.(*link); ok {
		req.Laddr.Zone = strings.Join(s.peers, " ")
	}
	if req.IsCancel() {
		if tx := e.table.cancelled(req); tx != nil {
			// The 200 goes first, so that the other side stops repeating; then sipgo sends the 487.
			go func() {
				ok := sip.NewResponseFromRequest(withTagOf(req, tx), 200, "OK", nil)
				if tx.Connection().WriteMsg(ok) == nil {
					_ = tx.Receive(req)
				}
			}()
			return
		}
	}
	tx, fresh, err := e.table.server(req, back)
	switch {
	case err != nil: // what sipgo can't find a transaction for has no answer but this (RFC 3261 §8.2)
		if !req.IsAck() {
			go func() { _ = back.WriteMsg(sip.NewResponseFromRequest(req, 400, "Bad Request", nil)) }()
		}
	case fresh:
		go e.serve(req, tx, came, number)
	case tx != nil:
		go func() { _ = tx.Receive(req) }()
	}
}

// withTagOf gives a CANCEL the To tag that answers to its INVITE have (RFC 3261 §9.2).
func withTagOf(cancel *sip.Request, tx *sip.ServerTx) *sip.Request {
	to, of := cancel.To(), tx.Origin().To()
	if to == nil || of == nil || to.Params.Has("tag") {
		return cancel
	}
	if tag, ok := of.Params.Get("tag"); ok {
		to.Params.Add("tag", tag)
	}
	return cancel
}

// found writes into the topmost Via where the request came from (RFC 3261 §18.2.1, RFC 3581 §4), and tells where its answers go: over its
// connection; else to its source's address, at the source's port if asked so, and at the Via's if not (§18.2.2).
func found(req *sip.Request, from netip.AddrPort, back sip.Connection) sip.Connection {
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
