package terminal

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/term"
)

// maxBlocks is how many lines of the chat can be painted again after the window has changed.
const maxBlocks = 300

// Screen is a terminal with a line to edit at its foot and the chat above it. What stands above scrolls away into
// the terminal's own memory, as the output of any program does; what can still be seen may change in place.
type Screen struct {
	in     *os.File
	old    *term.State
	sizes  chan os.Signal
	canvas canvas
	typed  func(line string) // called when the line has changed; it must not block
	lines  []string          // complete, not yet read
	keys   keyReader
}

// Capable reports whether a terminal understands what a Screen writes, and whether it may have colours (no-color.org).
func Capable(getenv func(string) string) (screen, colours bool) {
	kind := getenv("TERM")
	return kind != "" && kind != "dumb", getenv("NO_COLOR") == ""
}

// OpenScreen takes over the terminal until Close.
func OpenScreen(in, out *os.File, colours bool) (*Screen, error) {
	old, err := term.MakeRaw(int(in.Fd()))
	if err != nil {
		return nil, fmt.Errorf("terminal: %w", err)
	}
	s := &Screen{in: in, old: old, sizes: make(chan os.Signal, 1)}
	s.canvas = canvas{w: out, colours: colours, width: 80, height: 24}
	s.canvas.write("\x1b[?2004h") // pasted text is marked, so that a line end in it doesn't send
	resize := func() {
		if width, height, err := term.GetSize(int(out.Fd())); err == nil && width > 0 && height > 0 {
			s.canvas.resize(width, height)
		}
	}
	resize()
	signal.Notify(s.sizes, syscall.SIGWINCH)
	go func() { // ends with Close
		for range s.sizes {
			resize()
		}
	}()
	return s, nil
}

// Close gives the terminal back.
func (s *Screen) Close() {
	signal.Stop(s.sizes)
	close(s.sizes)
	s.canvas.leave()
	_ = term.Restore(int(s.in.Fd()), s.old)
}

// ReadLine edits and gives one line. io.EOF stands for Ctrl-C and Ctrl-D on an empty one, and for a terminal that has gone.
func (s *Screen) ReadLine() (string, error) {
	buf := make([]byte, 4096)
	for {
		if len(s.lines) > 0 {
			line := s.lines[0]
			s.lines = s.lines[1:]
			return line, nil
		}
		n, err := s.in.Read(buf)
		if err != nil {
			return "", io.EOF
		}
		for _, k := range s.keys.feed(buf[:n]) {
			switch k.action {
			case suspend:
				s.suspend()
				continue
			case redraw:
				s.canvas.repaint()
				continue
			}
			line, done, over := s.canvas.press(k)
			if over {
				return "", io.EOF
			}
			if done {
				s.lines = append(s.lines, line)
			} else if s.typed != nil && k.action <= insert {
				s.typed(s.canvas.line())
			}
		}
	}
}

// suspend gives the terminal to the shell until the program is continued.
func (s *Screen) suspend() {
	s.canvas.leave()
	_ = term.Restore(int(s.in.Fd()), s.old)
	_ = syscall.Kill(syscall.Getpid(), syscall.SIGTSTP)
	if old, err := term.MakeRaw(int(s.in.Fd())); err == nil {
		s.old = old
	}
	s.canvas.write("\x1b[?2004h")
	s.canvas.repaint()
}

// block is one thing that stands in the chat: a message, or what the program says.
type block struct {
	key    string // by which it can be changed; "": it can't
	spans  []span
	indent int
}

// canvas paints. Its methods may be called from several goroutines: it has no life of its own.
type canvas struct {
	w       io.Writer
	colours bool

	mu            sync.Mutex // guards the fields below
	width, height int
	blocks        []block
	editor        editor
	prompt        string
	status        []span
	footRows      int // rows of the foot on the screen
	footAt        int // the cursor's row in it
	left          bool
}

func (c *canvas) write(s string) { _, _ = io.WriteString(c.w, s) } // a terminal that has gone shows in reading

// limit is how wide rows are. The last column stays free: terminals differ in what they do behind it.
func (c *canvas) limit() int { return max(c.width-1, 4) }

func (c *canvas) rows(b block) []row { return wrap(b.spans, c.limit(), b.indent) }

// add puts a block below the others.
func (c *canvas) add(b block) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.blocks = append(c.blocks, b); len(c.blocks) > maxBlocks {
		c.blocks = c.blocks[1:]
	}
	c.paint(len(c.blocks)-1, 0)
}

// change replaces the newest block of a key. It reports false where that can no longer be seen.
func (c *canvas) change(key string, spans []span) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	above := 0 // rows from the foot up to the block
	for i := len(c.blocks) - 1; i >= 0 && key != ""; i-- {
		above += len(c.rows(c.blocks[i]))
		if c.blocks[i].key != key {
			continue
		}
		c.blocks[i].spans = spans
		if above+c.footRows > c.height {
			return false
		}
		c.paint(i, above)
		return true
	}
	return false
}

// foot changes what stands before the line, and above it.
func (c *canvas) foot(prompt string, status []span) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.prompt, c.status = prompt, status
	c.paint(len(c.blocks), 0)
}

// press gives a key to the editor.
func (c *canvas) press(k key) (line string, done, over bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	line, done, over = c.editor.press(k)
	c.paint(len(c.blocks), 0)
	return line, done, over
}

// line is what has been written so far.
func (c *canvas) line() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return string(c.editor.text)
}

func (c *canvas) resize(width, height int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.width, c.height = width, height
	c.all()
}

func (c *canvas) repaint() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left = false
	c.all()
}

// all paints the whole window anew: what the terminal has made of the old rows at the new width is its own affair.
func (c *canvas) all() {
	if c.left || len(c.blocks) == 0 && c.prompt == "" {
		return
	}
	_, footRows, _, _ := c.footNow()
	var rows []row // what fits, from the bottom up
	for i := len(c.blocks) - 1; i >= 0 && len(rows) < c.height-footRows; i-- {
		rows = append(c.rows(c.blocks[i]), rows...)
	}
	var b strings.Builder
	b.WriteString("\x1b[H\x1b[2J")
	for _, r := range rows[max(0, len(rows)-max(c.height-footRows, 0)):] {
		r.render(&b, c.colours)
		b.WriteString("\r\n")
	}
	c.write(b.String())
	c.footAt = 0
	c.paint(len(c.blocks), 0)
}

// leave takes the foot away, with the cursor below the chat.
func (c *canvas) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.write(c.toTop(0) + "\x1b[J\x1b[?2004l")
	c.footAt, c.footRows, c.left = 0, 0, true
}

// toTop moves the cursor from where the foot has it to so many rows above the foot.
func (c *canvas) toTop(above int) string {
	if up := c.footAt + above; up > 0 {
		return fmt.Sprintf("\r\x1b[%dA", up)
	}
	return "\r"
}

// footNow lays out the foot: the status, and the line with the cursor. Of a line that is higher than the window it is the part around the cursor.
func (c *canvas) footNow() (rows []row, n, atRow, atColumn int) {
	prompt := []span{{c.prompt, own}}
	before := len(letters([]span{{string(c.editor.text[:c.editor.at]), plain}}))
	lines, atRow, atColumn := fold(append(prompt, span{string(c.editor.text), plain}), c.limit(), len(letters(prompt))+before)
	if len(c.status) > 0 {
		status := wrap(c.status, c.limit(), 0)[:1]
		rows = append(rows, status...)
	}
	if room := max(c.height-len(rows)-1, 1); len(lines) > room {
		from := min(max(atRow-room/2, 0), len(lines)-room)
		lines, atRow = lines[from:from+room], atRow-from
	}
	atRow += len(rows)
	rows = append(rows, lines...)
	return rows, len(rows), atRow, atColumn
}

// paint writes the blocks from first on, the first of which stands so many rows above the foot, and the foot.
func (c *canvas) paint(first, above int) {
	if c.left {
		return
	}
	var b strings.Builder
	b.WriteString(c.toTop(above))
	b.WriteString("\x1b[J")
	for _, blk := range c.blocks[first:] {
		for _, r := range c.rows(blk) {
			r.render(&b, c.colours)
			b.WriteString("\r\n")
		}
	}
	rows, n, atRow, atColumn := c.footNow()
	for i, r := range rows {
		if i > 0 {
			b.WriteString("\r\n")
		}
		r.render(&b, c.colours)
	}
	b.WriteByte('\r')
	if up := n - 1 - atRow; up > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", up)
	}
	if atColumn > 0 {
		fmt.Fprintf(&b, "\x1b[%dC", atColumn)
	}
	c.footRows, c.footAt = n, atRow
	c.write(b.String())
}
