package httpapi

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"

	"latchkey"
)

// wantsSocket reports whether a request is a WebSocket handshake (RFC 6455 §4.2.1). One that is wrong is an error.
func wantsSocket(r *http.Request) (bool, error) {
	if !hasToken(r.Header, "Connection", "upgrade") || !hasToken(r.Header, "Upgrade", "websocket") {
		return false, nil
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(r.Header.Get("Sec-WebSocket-Key")))
	if err != nil || len(key) != 16 || r.Header.Get("Sec-WebSocket-Version") != "13" || !r.ProtoAtLeast(1, 1) {
		return false, latchkey.Errorf(latchkey.KindBadRequest, "the WebSocket handshake is not one of version 13")
	}
	return true, nil
}

func hasToken(h http.Header, name, token string) bool {
	for _, value := range h.Values(name) {
		for word := range strings.SplitSeq(value, ",") {
			if strings.EqualFold(strings.TrimSpace(word), token) {
				return true
			}
		}
	}
	return false
}

// socket carries the events over a WebSocket, each as one text message. The client may write {"ack":n}.
func (a *API) socket(ctx context.Context, w http.ResponseWriter, r *http.Request, account latchkey.AccountID, after int64) error {
	// Whose request this is was settled before, also where it comes from (see ownSite).
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
	if err != nil {
		return latchkey.Wrap(latchkey.KindBadRequest, err, "the WebSocket handshake failed")
	}
	defer conn.CloseNow()
	conn.SetReadLimit(1 << 10)
	following, stop := context.WithCancel(ctx)
	var reading sync.WaitGroup
	reading.Go(func() { // ends with the connection, which is closed below
		defer stop()
		a.acks(context.WithoutCancel(ctx), conn, account)
	})
	err = a.follow(following, account, after, &socketOutlet{conn, a.opt.WriteTimeout})
	fine := err == nil || parting(following, err) // which the close, that ends following, must not make of a failure
	code, why := websocket.StatusNormalClosure, "the invitation has ended"
	switch {
	case a.open.Err() != nil || latchkey.Is(err, latchkey.KindUnavailable):
		code, why = websocket.StatusServiceRestart, "reconnect"
	case !fine:
		code, why = websocket.StatusInternalError, ""
	}
	_ = conn.Close(code, why) // where the client has gone there is nobody to tell
	reading.Wait()
	if fine {
		return nil
	}
	return err
}

// acks reads what the client writes until the connection ends.
func (a *API) acks(ctx context.Context, conn *websocket.Conn, account latchkey.AccountID) {
	for {
		_, data, err := conn.Read(ctx)
		if err != nil {
			return
		}
		var m struct {
			Ack *int64 `json:"ack"`
		}
		if err := json.Unmarshal(data, &m); err != nil || m.Ack == nil || *m.Ack < 0 {
			_ = conn.Close(websocket.StatusPolicyViolation, `write {"ack":n}`)
			return
		}
		if err := a.ports.Hall.Ack(ctx, account, *m.Ack); err != nil {
			a.opt.Log.Error("events not acknowledged", latchkey.LogGuest, account, latchkey.LogError, err)
			return
		}
	}
}

// socketOutlet writes to one WebSocket. A client that doesn't read is cut off.
type socketOutlet struct {
	conn    *websocket.Conn
	timeout time.Duration
}

// within runs one write. The stream's own end does not interrupt it: that would tear the connection down where
// it is to be closed in order.
func (o *socketOutlet) within(f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), o.timeout)
	defer cancel()
	return f(ctx)
}

func (o *socketOutlet) event(e latchkey.Event) error {
	data, err := encode(e)
	if err != nil {
		return err
	}
	return o.within(func(ctx context.Context) error { return o.conn.Write(ctx, websocket.MessageText, data) })
}

func (o *socketOutlet) flush() error { return nil } // Write has

// idle asks for a sign of life (RFC 6455 §5.5.2).
func (o *socketOutlet) idle() error { return o.within(o.conn.Ping) }
