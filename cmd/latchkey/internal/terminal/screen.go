package terminal

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"golang.org/x/term"
)

// Screen is a terminal with a line to edit at its foot and the chat above it.
type Screen struct {
	in    *os.File
	old   *term.State
	term  *term.Terminal
	typed func(line string) // called for each key; it must not block
	sizes chan os.Signal
}

// OpenScreen takes over the terminal until Close.
func OpenScreen(in, out *os.File) (*Screen, error) {
	old, err := term.MakeRaw(int(in.Fd()))
	if err != nil {
		return nil, fmt.Errorf("terminal: %w", err)
	}
	s := &Screen{in: in, old: old, sizes: make(chan os.Signal, 1)}
	s.term = term.NewTerminal(struct {
		io.Reader
		io.Writer
	}{in, out}, "> ")
	s.term.SetBracketedPasteMode(true) // so that a pasted line end doesn't send
	s.term.AutoCompleteCallback = func(line string, pos int, key rune) (string, int, bool) {
		if s.typed != nil && key >= ' ' {
			s.typed(line + string(key))
		}
		return "", 0, false
	}
	resize := func() {
		if width, height, err := term.GetSize(int(out.Fd())); err == nil && width > 0 {
			_ = s.term.SetSize(width, height)
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
	s.term.SetBracketedPasteMode(false)
	_ = term.Restore(int(s.in.Fd()), s.old)
	fmt.Println()
}

// ReadLine edits and gives one line. io.EOF stands for Ctrl-C and Ctrl-D.
func (s *Screen) ReadLine() (string, error) {
	line, err := s.term.ReadLine()
	if err == term.ErrPasteIndicator { // a pasted line is a line
		err = nil
	}
	return strings.TrimRight(line, "\r\n"), err
}

// Write prints above the line that is being edited.
func (s *Screen) Write(p []byte) (int, error) { return s.term.Write(p) }

// prompt changes what stands before the line.
func (s *Screen) prompt(text string) {
	s.term.SetPrompt(text)
	_, _ = s.term.Write(nil) // paints line and prompt again
}
