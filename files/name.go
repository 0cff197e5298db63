package files

import (
	"mime"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxName is how many bytes a name may have: file systems take 255, and copies get a suffix.
const maxName = 200

// CleanName makes a name that a stranger gave safe to show and to save: its last part, without control characters and those that turn
// the direction of writing (which make "exe.jpg" of "gpj.exe"), without what no file system takes, never hidden, never "".
func CleanName(s string) string {
	s = strings.ToValidUTF8(s, "_")
	s = s[strings.LastIndexAny(s, `/\`)+1:]
	s = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsControl(r), unicode.Is(unicode.Cf, r), unicode.Is(unicode.Zl, r), unicode.Is(unicode.Zp, r), r == utf8.RuneError:
			return -1
		case strings.ContainsRune(`<>:"|?*`, r):
			return '_'
		case unicode.IsSpace(r):
			return ' '
		}
		return r
	}, s)
	s = strings.Trim(s, " ")
	s = strings.TrimRight(s, " .") // Windows drops them, and with them a name's ending
	if strings.HasPrefix(s, ".") {
		s = "_" + s[1:]
	}
	stem, _, _ := strings.Cut(s, ".")
	if reservedNames[strings.ToUpper(strings.TrimSpace(stem))] {
		s = "_" + s
	}
	if len(s) > maxName {
		ending := ""
		if dot := strings.LastIndexByte(s, '.'); dot > 0 && len(s)-dot <= 16 {
			ending = s[dot:]
		}
		s = strings.TrimRight(strings.ToValidUTF8(s[:maxName-len(ending)], ""), " .") + ending
	}
	if s == "" {
		return "file"
	}
	return s
}

// reservedNames are devices on Windows, whatever the ending.
var reservedNames = map[string]bool{
	"CON": true, "PRN": true, "AUX": true, "NUL": true,
	"COM1": true, "COM2": true, "COM3": true, "COM4": true, "COM5": true, "COM6": true, "COM7": true, "COM8": true, "COM9": true,
	"LPT1": true, "LPT2": true, "LPT3": true, "LPT4": true, "LPT5": true, "LPT6": true, "LPT7": true, "LPT8": true, "LPT9": true,
}

// anyType is the media type of what nobody knows.
const anyType = "application/octet-stream"

// CleanType is a media type without parameters, in lower case; what is none is application/octet-stream.
func CleanType(s string) string {
	kind, _, err := mime.ParseMediaType(s)
	major, minor, ok := strings.Cut(kind, "/")
	if err != nil || !ok || len(kind) > 127 || major == "" || minor == "" || strings.Contains(minor, "/") || major == "multipart" || major == "message" {
		return anyType
	}
	return kind
}
