package smpp

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// ErrLost is in the error of a command whose answer didn't come: nobody knows whether it was carried out.
var ErrLost = errors.New("no answer")

// link is one connection to a centre, bound in one way.
type link struct {
	conn net.Conn
	opt  *Options
	name string // of the centre, for logs

	writing sync.Mutex

	mu       sync.Mutex
	pending  map[uint32]chan PDU // of one; never closed
	sequence uint32
	err      error // why it ended

	heard chan struct{} // of one: something came; never closed
	work  chan PDU      // deliveries for the workers; closed by read
	done  chan struct{} // closed when the link has ended

	running sync.WaitGroup // read, keep and the workers
}

// connect opens a connection and binds it. The caller ends it with close or unbind.
func connect(ctx context.Context, s Server, how Command, opt *Options) (*link, error) {
	ctx, cancel := context.WithTimeout(ctx, opt.Connect)
	defer cancel()
	conn, err := opt.Dial(ctx, "tcp", s.HostPort)
	if err != nil {
		return nil, err
	}
	if s.TLS {
		secure := tls.Client(conn, tlsConfig(opt.TLS, s.HostPort))
		if err := secure.HandshakeContext(ctx); err != nil {
			_ = conn.Close()
			return nil, fmt.Errorf("TLS with %s: %w", s.HostPort, err)
		}
		conn = secure
	}
	l := &link{
		conn: conn, opt: opt, name: s.HostPort, pending: map[uint32]chan PDU{},
		heard: make(chan struct{}, 1), work: make(chan PDU, opt.Window), done: make(chan struct{}),
	}
	l.running.Go(l.read) // ends with the connection
	for range deliveryWorkers {
		l.running.Go(l.deliver) // ends with read
	}
	res, err := l.ask(ctx, how, &Bind{SystemID: s.SystemID, Password: s.Password, SystemType: opt.SystemType, Version: opt.Version, AddressRange: opt.AddressRange})
	if err == nil && res.Status != OK {
		err = &Refusal{how, res.Status}
	}
	if err != nil {
		l.close(err)
		l.running.Wait()
		return nil, fmt.Errorf("%s: %w", s.HostPort, err)
	}
	l.running.Go(l.keep) // ends with the link
	return l, nil
}

// tlsConfig wants the centre to be who it is said to be.
func tlsConfig(base *tls.Config, hostPort string) *tls.Config {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if base != nil {
		c = base.Clone()
	}
	if c.ServerName == "" {
		c.ServerName, _, _ = net.SplitHostPort(hostPort)
	}
	return c
}

// ask sends a command and waits for its answer, ctx, Options.Response or the link's end.
func (l *link) ask(ctx context.Context, c Command, body Body) (PDU, error) {
	answer := make(chan PDU, 1)
	l.mu.Lock()
	if l.err != nil {
		l.mu.Unlock()
		return PDU{}, errors.Join(errNotSent, l.err)
	}
	// SMPP 3.4 §3.2.1: from 1 to 0x7fffffff.
	if l.sequence++; l.sequence > 0x7fffffff {
		l.sequence = 1
	}
	sequence := l.sequence
	l.pending[sequence] = answer
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.pending, sequence)
	}()
	if err := l.write(PDU{Command: c, Sequence: sequence, Body: body}); err != nil {
		return PDU{}, err
	}
	timer := time.NewTimer(l.opt.Response)
	defer timer.Stop()
	select {
	case p := <-answer:
		return checked(p, c)
	case <-timer.C:
		return PDU{}, fmt.Errorf("%v: %w within %v", c, ErrLost, l.opt.Response)
	case <-ctx.Done():
		return PDU{}, fmt.Errorf("%v: %w: %w", c, ErrLost, ctx.Err())
	case <-l.done:
		select {
		case p := <-answer: // it came just before the end
			return checked(p, c)
		default:
		}
		return PDU{}, fmt.Errorf("%v: %w: %w", c, ErrLost, l.why())
	}
}

// checked makes sure that an answer is one to the command.
func checked(p PDU, c Command) (PDU, error) {
	switch {
	case p.Command == GenericNack && p.Status != OK:
		return p, &Refusal{c, p.Status}
	case p.Command != c|response:
		return p, fmt.Errorf("%v was answered by %v", c, p.Command)
	case p.Body == nil && p.Status == OK && c == SubmitSM:
		return p, fmt.Errorf("%v was answered without a message_id", c)
	}
	return p, nil
}

// errNotSent marks what certainly didn't reach the centre.
var errNotSent = errors.New("not sent")

func (l *link) write(p PDU) error {
	b, err := p.Append(make([]byte, 0, 256))
	if err != nil {
		return err
	}
	l.writing.Lock()
	defer l.writing.Unlock()
	_ = l.conn.SetWriteDeadline(time.Now().Add(l.opt.Response))
	if _, err := l.conn.Write(b); err != nil {
		l.close(err)
		return fmt.Errorf("%v: %w: %w", p.Command, ErrLost, err)
	}
	return nil
}

// read takes what comes until the connection ends.
func (l *link) read() {
	defer close(l.work)
	in := bufio.NewReaderSize(l.conn, 32<<10)
	for {
		p, err := Read(in)
		bad, malformed := errors.AsType[*Malformed](err)
		if err != nil && !malformed {
			l.close(err)
			return
		}
		select {
		case l.heard <- struct{}{}:
		default:
		}
		switch {
		case p.Command.Response():
			l.answer(p, bad)
		case malformed:
			l.opt.Log.Warn("SMS centre sent what can't be read", "smsc", l.name, "error", bad)
			l.reply(p, GenericNack, InvalidCommandLen)
		case p.Command == EnquireLink:
			l.reply(p, EnquireLinkResp, OK)
		case p.Command == Unbind:
			l.reply(p, UnbindResp, OK)
			l.close(errors.New("the centre unbound"))
			return
		case p.Command == DeliverSM, p.Command == DataSM:
			select {
			case l.work <- p:
			default: // answers must not wait behind deliveries
				l.reply(p, p.Command|response, QueueFull)
			}
		case p.Command == AlertNotification: // has no answer
		default:
			l.reply(p, GenericNack, InvalidCommand)
		}
	}
}

func (l *link) answer(p PDU, bad *Malformed) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if answer := l.pending[p.Sequence]; answer != nil {
		if bad != nil {
			p = PDU{Command: GenericNack, Status: UnknownError, Sequence: p.Sequence}
		}
		select {
		case answer <- p:
		default: // a second answer
		}
	}
}

// reply answers p.
func (l *link) reply(p PDU, c Command, s Status) {
	out := PDU{Command: c, Status: s, Sequence: p.Sequence}
	if c == DeliverSMResp || c == DataSMResp {
		out.Body = &ID{}
	}
	_ = l.write(out) // a failure ends the link
}

// deliveryWorkers is how many deliveries of a link are in the hands of Options.Deliver at once.
const deliveryWorkers = 4

// deliver hands deliveries over and acknowledges them after that.
func (l *link) deliver() {
	for p := range l.work {
		s := OK
		if l.opt.Deliver != nil {
			ctx, cancel := context.WithTimeout(context.Background(), l.opt.Response)
			if err := l.opt.Deliver(ctx, p.Body.(*SM)); err != nil {
				l.opt.Log.Error("delivery not taken; the SMS centre will repeat it", "smsc", l.name, "error", err)
				s = TemporaryAppError
			}
			cancel()
		}
		l.reply(p, p.Command|response, s)
	}
}

// keep asks whether the centre is there when nothing came for a while (SMPP 3.4 §4.11), and ends the link if it isn't.
func (l *link) keep() {
	timer := time.NewTimer(l.opt.EnquireLink)
	defer timer.Stop()
	for {
		select {
		case <-l.done:
			return
		case <-l.heard:
			timer.Reset(l.opt.EnquireLink)
		case <-timer.C:
			if _, err := l.ask(context.Background(), EnquireLink, nil); err != nil {
				l.close(fmt.Errorf("inactive: %w", err))
				return
			}
			timer.Reset(l.opt.EnquireLink)
		}
	}
}

// unbind says goodbye, closes and waits for what the link runs.
func (l *link) unbind() {
	defer l.running.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), closeWait)
	defer cancel()
	_, _ = l.ask(ctx, Unbind, nil)
	l.close(net.ErrClosed)
}

// close ends the link; the first reason stays.
func (l *link) close(why error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.err = why
		close(l.done)
		_ = l.conn.Close()
	}
}

func (l *link) why() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}
