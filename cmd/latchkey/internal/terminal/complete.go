package terminal

import (
	"os"
	"path/filepath"
	"strings"
)

// completeWith sets what Tab asks.
func (c *canvas) completeWith(f func(line string) (string, bool)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.editor.complete = f
}

// completion makes a command, or the path behind one, as long as there is no choice. It runs on the reader's goroutine and
// touches nothing of the chat.
func (c *chat) completion(line string) (string, bool) {
	rest, ok := strings.CutPrefix(line, "/")
	if !ok {
		return "", false
	}
	name, path, hasPath := strings.Cut(rest, " ")
	if !hasPath {
		var names []string
		for _, k := range commands() {
			if k.about != "" && strings.HasPrefix(k.name, name) {
				names = append(names, k.name)
			}
		}
		return finish("/", name, names, " ")
	}
	before := "/" + name + " "
	if name == "save" {
		n, rest, ok := strings.Cut(path, " ")
		if !ok {
			return "", false
		}
		before, path = before+n+" ", rest
	} else if name != "send" {
		return "", false
	}
	dir, begin := filepath.Split(path)
	read := dir
	if read == "" {
		read = "."
	}
	if rest, ok := strings.CutPrefix(read, "~/"); ok {
		if homeDir, err := os.UserHomeDir(); err == nil {
			read = filepath.Join(homeDir, rest)
		}
	}
	entries, err := os.ReadDir(read)
	if err != nil {
		return "", false
	}
	var names []string
	for _, e := range entries {
		if n := e.Name(); strings.HasPrefix(n, begin) && (begin != "" || n[0] != '.') && cleanLine(n) == n {
			if e.IsDir() {
				n += "/"
			}
			names = append(names, n)
		}
	}
	return finish(before+dir, begin, names, "")
}

// finish is the longest beginning that all names share, with end behind the only one.
func finish(before, begin string, names []string, end string) (string, bool) {
	if len(names) == 0 {
		return "", false
	}
	common := names[0]
	for _, n := range names[1:] {
		for !strings.HasPrefix(n, common) {
			runes := []rune(common)
			common = string(runes[:len(runes)-1])
		}
	}
	if len(names) == 1 {
		common += end
	}
	return before + common, common != begin
}
