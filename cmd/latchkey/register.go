package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
)

// What a desktop as freedesktop.org describes it needs to open links and files with a program: an entry of the program, and what a media type's
// files are called. The person's own folders hold both.
const (
	desktopName  = "latchkey-guest.desktop"
	desktopEntry = `[Desktop Entry]
Type=Application
Name=Latchkey guest
Comment=Chat as the guest of an invitation
Exec=%s guest %%u
Terminal=true
NoDisplay=true
Categories=Network;InstantMessaging;
MimeType=x-scheme-handler/latchkey;application/vnd.latchkey;
`
	mimeName = "latchkey-guest.xml"
	mimeType = `<?xml version="1.0" encoding="UTF-8"?>
<mime-info xmlns="http://www.freedesktop.org/standards/shared-mime-info">
  <mime-type type="application/vnd.latchkey">
    <comment>Latchkey chat</comment>
    <sub-class-of type="application/json"/>
    <glob pattern="*.latchkey"/>
  </mime-type>
</mime-info>
`
)

// registerGuest has the person's desktop open latchkey: links and .latchkey files with this program, or takes that back.
func registerGuest(ctx context.Context, out io.Writer, on bool) error {
	if runtime.GOOS == "windows" || runtime.GOOS == "darwin" {
		return errors.New("--register knows desktops as freedesktop.org describes them; here, choose this program for latchkey: links in the system's settings")
	}
	data := os.Getenv("XDG_DATA_HOME")
	if data == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return err
		}
		data = filepath.Join(home, ".local", "share")
	}
	program, err := os.Executable()
	if err != nil {
		return err
	}
	applications, packages := filepath.Join(data, "applications"), filepath.Join(data, "mime", "packages")
	entry, kind := filepath.Join(applications, desktopName), filepath.Join(packages, mimeName)
	if on {
		err = errors.Join(place(entry, fmt.Sprintf(desktopEntry, quoted(program))), place(kind, mimeType))
	} else {
		err = errors.Join(remove(entry), remove(kind))
	}
	if err != nil {
		return err
	}
	// The desktop's own programs tell it of the change; without them most desktops see it when they start anew.
	update(ctx, "update-mime-database", filepath.Dir(packages))
	update(ctx, "update-desktop-database", applications)
	if !on {
		fmt.Fprintln(out, "This desktop opens chats with this program no longer.")
		return nil
	}
	if _, err := exec.LookPath("xdg-mime"); err != nil {
		fmt.Fprintf(out, "Written are %s and %s. xdg-mime is missing, so say yourself that %s opens latchkey: links.\n", entry, kind, desktopName)
		return nil
	}
	for _, what := range []string{"x-scheme-handler/latchkey", "application/vnd.latchkey"} {
		if text, err := exec.CommandContext(ctx, "xdg-mime", "default", desktopName, what).CombinedOutput(); err != nil {
			return fmt.Errorf("xdg-mime default %s %s: %w: %s", desktopName, what, err, bytes.TrimSpace(text))
		}
	}
	fmt.Fprintln(out, "This desktop opens latchkey: links and .latchkey files with this program now.")
	return nil
}

var plain = regexp.MustCompile(`^[A-Za-z0-9/._+-]+$`)

// quoted is a path as an argument of Exec (Desktop Entry Specification, "The Exec key"): as it is where that will do, since some programs
// read no more, else in double quotes, where ", `, $ and \ have a backslash before them, which stands doubled in a string of the file; % stands for
// itself doubled.
func quoted(path string) string {
	if plain.MatchString(path) {
		return path
	}
	return `"` + strings.NewReplacer(`\`, `\\\\`, `"`, `\\"`, "`", "\\\\`", `$`, `\\$`, `%`, `%%`).Replace(path) + `"`
}

// place writes a file, and the folders above it where they are missing.
func place(path, text string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(text), 0o644)
}

func remove(path string) error {
	if err := os.Remove(path); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// update runs a program of the desktop's, where there is one. What it says is for nobody.
func update(ctx context.Context, program string, args ...string) {
	_ = exec.CommandContext(ctx, program, args...).Run()
}
