package mail

import (
	"context"
	"net"
	"time"
)

// Check opens the dialogue with the server as for a mail (greeting, EHLO, TLS, login) and says goodbye without one. It
// tells whether TLS is spoken and whether the server has let us in by password.
func (c *Channel) Check(ctx context.Context) (secure, loggedIn bool, err error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", c.opt.Server)
	if err != nil {
		return false, false, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	client, err := c.greet(ctx, conn)
	if err != nil {
		return false, false, err
	}
	defer quit(client, conn)
	_, secure = client.TLSConnectionState()
	return secure || c.opt.TLS, c.opt.User != "", nil
}
