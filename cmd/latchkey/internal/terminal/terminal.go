// Package terminal is the guest's chat in a terminal, and in pipes.
//
// One loop owns the chat; reading lines, the event stream and requests run beside it and
// post to it. It decides nothing and keeps nothing: package guestclient talks to the
// gateway. What peers write is made safe before it is shown. Start with Run.
package terminal

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"latchkey/guestclient"
)

// Times of the chat.
const (
	idleAfter    = 10 * time.Second // without a key the guest has stopped typing
	refreshAfter = 60 * time.Second // RFC 3994 §3.1: an active state is repeated before it lapses
	lastWords    = 5 * time.Second  // how long requests under way may take after the end
)

// Options of a chat. In and Out are required, unless Screen is set.
type Options struct {
	In     io.Reader     // lines and commands
	Out    io.Writer     // what happens
	Screen *Screen       // a terminal instead of In and Out
	JSON   bool          // one JSON object a line instead of text, in and out
	Wait   time.Duration // after the end of In: how long to stay for answers; 0 leaves once all is sent
	Settle time.Duration // after the end of In: how long messages may take to be sent; default 30 s
}

// Connection hears of the gateway's being lost and found; give its Changed to guestclient.Options of the chat's client.
type Connection struct{ changes chan change }

type change struct {
	up  bool
	why error
}

// NewConnection makes one for one chat.
func NewConnection() *Connection { return &Connection{make(chan change, 1)} }

// Changed takes news. What the chat has not looked at yet is replaced: only the latest counts.
func (n *Connection) Changed(up bool, why error) {
	for {
		select {
		case n.changes <- change{up, why}:
			return
		default:
		}
		select {
		case <-n.changes:
		default:
		}
	}
}

// ErrUnsent is returned when the input ended and not all messages reached their inviter.
var ErrUnsent = errors.New("not all messages were sent")

// ErrUnsaved is returned when the input ended and a file was not saved.
var ErrUnsaved = errors.New("not all files were saved")

// Run logs in and chats until the input ends, the guest quits or ctx ends. connection may be nil.
func Run(ctx context.Context, client *guestclient.Client, connection *Connection, opt Options) error {
	login, err := client.Login(ctx)
	if err != nil {
		return fmt.Errorf("log in: %w", err)
	}
	if opt.Settle == 0 {
		opt.Settle = 30 * time.Second
	}
	if connection == nil {
		connection = NewConnection()
	}
	ctx, cancel := context.WithCancel(ctx)
	c := &chat{
		client: client, opt: opt, out: output{w: opt.Out, json: opt.JSON, screen: opt.Screen}, inviters: login.Inviters,
		open: map[string]*outgoing{}, shown: map[string]bool{}, typing: map[string]bool{},
		lines: make(chan string), ended: make(chan struct{}), typed: make(chan string, 1), changes: connection.changes,
		events: make(chan told), followed: make(chan struct{}), results: make(chan func()),
	}
	if opt.Screen != nil {
		opt.Screen.canvas.completeWith(c.completion)
		opt.Screen.typed = func(line string) {
			select {
			case c.typed <- line:
			default: // the loop has a key to look at already
			}
		}
	}
	queues := []**chores{&c.sends, &c.rest, &c.uploads, &c.downloads}
	for _, q := range queues {
		*q = newChores(ctx)
	}
	defer func() {
		cancel()
		for _, q := range queues {
			<-(*q).done
		}
		<-c.followed
	}()
	c.out.login(login)
	if len(c.inviters) > 0 {
		c.turnTo(0)
		if opt.Screen != nil {
			c.lately(ctx)
		}
		c.out.notice("Writing to %s. /help shows the commands.", nameOf(c.inviters[0]))
	}
	go c.follow(ctx)    // ends with ctx
	go c.readLines(ctx) // ends with the input; a read that blocks for ever ends with the process
	return c.run(ctx)
}

// chat is the state of the loop; only run and what it calls touch it.
type chat struct {
	client *guestclient.Client
	opt    Options
	out    output

	inviters []guestclient.Inviter
	to       string               // URI of the one to whom lines go
	sending  int                  // messages and files that the gateway has not taken yet
	saving   int                  // files that come down
	open     map[string]*outgoing // on their way, by the gateway's id
	early    []guestclient.Event
	shown    map[string]bool // ids of what stands on the screen
	files    []*transfer     // number n stands at n-1
	typing   map[string]bool // URIs of inviters
	unsent   bool            // a message failed
	unsaved  bool            // a file did
	last     int64
	asking   func(answer string) // takes the next line

	offline bool // the gateway is lost

	active     bool // the inviter was told that the guest is typing
	activeTo   string
	activeAt   time.Time
	idle       <-chan time.Time
	closing    <-chan time.Time // set when the input has ended
	staying    bool             // until closing fires, whatever happens
	deaf       bool             // in a pipe: nothing counts that comes after /quit
	quit, gone bool             // gone: the guest has logged out

	lines    chan string
	ended    chan struct{} // closed after the last line
	typed    chan string
	changes  chan change
	events   chan told
	followed chan struct{} // closed when the event stream is left
	results  chan func()   // what requests found, to be done in the loop

	sends     *chores // messages, in order
	uploads   *chores // files
	downloads *chores
	rest      *chores // everything else, in order
}

// told is one step of the event stream.
type told struct {
	event guestclient.Event
	err   error
}

func (c *chat) run(ctx context.Context) error {
	ended := c.ended
	for !c.quit {
		select {
		case line := <-c.lines:
			if !c.deaf {
				c.line(line)
			}
		case <-ended:
			ended = nil
			c.inputEnded()
		case line := <-c.typed:
			c.keyTyped(line)
		case t := <-c.events:
			if t.err != nil {
				if c.gone || ctx.Err() != nil {
					continue // of our own doing
				}
				return fmt.Errorf("events: %w", t.err)
			}
			c.event(t.event)
		case f := <-c.results:
			f()
		case n := <-c.changes:
			c.connection(n.up, n.why)
		case <-c.idle:
			c.stopTyping()
		case <-c.closing:
			c.quit = true
		case <-ctx.Done():
			return nil
		}
		if c.closing != nil && !c.staying && c.settled() {
			c.quit = true
		}
	}
	ctx, cancel := context.WithTimeout(ctx, lastWords)
	defer cancel()
	c.flush(ctx)
	switch {
	case c.gone:
	case c.opt.Screen != nil && c.sending == 0: // a person has seen what became of the rest
	case c.unsent || !c.settled():
		return ErrUnsent
	case c.unsaved:
		return ErrUnsaved
	}
	return nil
}

// flush lets requests that are under way end; what they find still counts.
func (c *chat) flush(ctx context.Context) {
	c.stopTyping()
	done := make(chan struct{})
	go func() { // ends with ctx
		defer close(done)
		c.sends.flush(ctx)
		c.rest.flush(ctx)
	}()
	for {
		select {
		case f := <-c.results:
			f()
		case <-done:
			return
		}
	}
}

// settled reports whether everything reached its inviter, or the disk, or failed.
func (c *chat) settled() bool { return c.sending == 0 && c.saving == 0 && len(c.open) == 0 }

// inputEnded stays at a pipe's end until messages are sent, and then for answers.
func (c *chat) inputEnded() {
	if c.opt.Screen != nil {
		c.quit = true
		return
	}
	if c.deaf {
		return
	}
	c.staying = c.opt.Wait > 0
	wait := c.opt.Settle
	if c.staying {
		wait = c.opt.Wait
	}
	c.closing = time.After(wait)
}

// post hands the loop something to do, from another goroutine.
func (c *chat) post(ctx context.Context, f func()) {
	select {
	case c.results <- f:
	case <-ctx.Done():
	}
}

func (c *chat) readLines(ctx context.Context) {
	defer close(c.ended)
	next := func() func() (string, error) {
		if c.opt.Screen != nil {
			return c.opt.Screen.ReadLine
		}
		lines := bufio.NewScanner(c.opt.In)
		lines.Buffer(nil, 1<<20)
		return func() (string, error) {
			if lines.Scan() {
				return lines.Text(), nil
			}
			if err := lines.Err(); err != nil {
				return "", err
			}
			return "", io.EOF
		}
	}()
	for {
		line, err := next()
		if err != nil {
			if !errors.Is(err, io.EOF) {
				c.post(ctx, func() { c.out.trouble(request{}, "input", err) })
			}
			return
		}
		select {
		case c.lines <- line:
		case <-ctx.Done():
			return
		}
	}
}

func (c *chat) follow(ctx context.Context) {
	defer close(c.followed)
	for e, err := range c.client.Events(ctx, 0) {
		select {
		case c.events <- told{e, err}:
		case <-ctx.Done():
			return
		}
	}
}

// keyTyped tells the inviter that the guest is typing, unless it is a command or an answer to a question.
func (c *chat) keyTyped(line string) {
	if c.to == "" || line == "" || line[0] == '/' || c.asking != nil {
		return
	}
	c.idle = time.After(idleAfter)
	if c.active && c.activeTo == c.to && time.Since(c.activeAt) < refreshAfter {
		return
	}
	c.active, c.activeTo, c.activeAt = true, c.to, time.Now()
	c.tellComposing(c.to, true)
}

// stopTyping takes the indication back.
func (c *chat) stopTyping() {
	if c.active {
		c.tellComposing(c.activeTo, false)
	}
	c.active, c.idle = false, nil
}

// tellComposing is worth one try: it lapses by itself.
func (c *chat) tellComposing(to string, active bool) {
	c.rest.add(func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, lastWords)
		defer cancel()
		_ = c.client.Composing(ctx, to, active)
	})
}
