package msrpsdp

import (
	"encoding/hex"
	"errors"
	"fmt"
	"mime"
	"net/mail"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/pion/sdp/v3"
)

// Limits of what a peer may say of a file, in octets: a whole attribute, and a name or type within.
const (
	maxFileAttribute = 8 << 10
	maxFileText      = 1 << 10
	maxTypeParams    = 8
)

// fileDate is RFC 5322's date-time with a numeric zone (RFC 5547 §6).
const fileDate = "Mon, 2 Jan 2006 15:04:05 -0700"

// lines writes the attributes, strictly by the grammar of RFC 5547 §6: what it can't say is an error, what would break out of its
// quotes or its line is percent-encoded (S8).
func (f File) lines() ([]sdp.Attribute, error) {
	var selectors, dates []string
	if f.Name != "" {
		if !utf8.ValidString(f.Name) || len(f.Name) > maxFileText {
			return nil, errors.New("file: name is no UTF-8, or too long")
		}
		selectors = append(selectors, `name:"`+encodeFileText(f.Name)+`"`)
	}
	if f.Type != "" {
		t, err := encodeFileType(f.Type)
		if err != nil {
			return nil, fmt.Errorf("file: type %.80q: %w", f.Type, err)
		}
		selectors = append(selectors, "type:"+t)
	}
	if f.Size > 0 {
		selectors = append(selectors, "size:"+strconv.FormatInt(f.Size, 10))
	}
	for _, h := range f.Hashes {
		i := slices.IndexFunc(hashes, func(k knownHash) bool { return k.name == h.Algorithm })
		if i < 0 || len(h.Sum) != hashes[i].size {
			return nil, fmt.Errorf("file: hash %.20q of %d octets", h.Algorithm, len(h.Sum))
		}
		selectors = append(selectors, "hash:"+h.Algorithm+":"+colons(h.Sum))
	}
	if len(f.Hashes) > 0 && !slices.ContainsFunc(f.Hashes, func(h Hash) bool { return h.Algorithm == hashes[0].name }) {
		return nil, errors.New("file: a hash must be sha-1, others may stand beside it (RFC 5547 §6)")
	}
	all := []sdp.Attribute{{Key: "file-selector", Value: strings.Join(selectors, " ")}}
	add := func(key, value string) { all = append(all, sdp.Attribute{Key: key, Value: value}) }
	for _, t := range []struct{ key, value string }{{"file-transfer-id", f.TransferID}, {"file-disposition", f.Disposition}} {
		switch {
		case t.value == "":
		case !isToken(t.value):
			return nil, fmt.Errorf("file: %s %.40q is no token", t.key, t.value)
		default:
			add(t.key, t.value)
		}
	}
	for _, d := range []struct {
		key string
		at  time.Time
	}{{"creation", f.Created}, {"modification", f.Modified}, {"read", f.Read}} {
		switch {
		case d.at.IsZero():
		case !datable(d.at):
			return nil, fmt.Errorf("file: %s date %v can't be written", d.key, d.at)
		default:
			dates = append(dates, d.key+`:"`+d.at.UTC().Format(fileDate)+`"`)
		}
	}
	if len(dates) > 0 {
		add("file-date", strings.Join(dates, " "))
	}
	if f.Icon != "" {
		if !isContentID(f.Icon) {
			return nil, fmt.Errorf("file: icon %.80q is no content id", f.Icon)
		}
		add("file-icon", "cid:"+encodeContentID(f.Icon))
	}
	if f.Range != (Range{}) {
		if !f.Range.within(0) {
			return nil, fmt.Errorf("file: range %d-%d", f.Range.Start, f.Range.End)
		}
		stop := "*"
		if f.Range.End > 0 {
			stop = strconv.FormatInt(f.Range.End, 10)
		}
		add("file-range", fmt.Sprintf("%d-%s", f.Range.Start, stop))
	}
	return all, nil
}

// readFile takes the attributes of a file, or is nil where there is no file-selector. It is tolerant: what it can't read is not
// said, of two the first counts, and what is unknown is passed over.
func readFile(attributes []sdp.Attribute) *File {
	var f File
	selector := false
	seen := map[string]bool{}
	for _, a := range attributes {
		key, v := strings.ToLower(a.Key), strings.TrimSpace(a.Value)
		if !strings.HasPrefix(key, "file-") || seen[key] || len(v) > maxFileAttribute {
			continue
		}
		seen[key] = true
		switch key {
		case "file-selector":
			selector = true
			fileWords(v, f.selector)
		case "file-transfer-id":
			if isToken(v) {
				f.TransferID = v
			}
		case "file-disposition":
			if isToken(v) {
				f.Disposition = strings.ToLower(v)
			}
		case "file-date":
			fileWords(v, f.date)
		case "file-icon":
			if scheme, id, _ := strings.Cut(v, ":"); strings.EqualFold(scheme, "cid") {
				if id, err := url.PathUnescape(id); err == nil && isContentID(id) {
					f.Icon = id
				}
			}
		case "file-range":
			f.Range = readRange(v)
		}
	}
	if !selector {
		return nil
	}
	return &f
}

// fileWords gives each `key:value` to take. A value in quotes is given without them, otherwise it ends at a space outside of quotes.
func fileWords(v string, take func(key, value string)) {
	for {
		v = strings.TrimLeft(v, " \t")
		if v == "" {
			return
		}
		i := strings.IndexAny(v, ": \t")
		if i < 0 {
			return
		}
		if v[i] != ':' {
			v = v[i:]
			continue
		}
		key := strings.ToLower(v[:i])
		v = v[i+1:]
		var value string
		if strings.HasPrefix(v, `"`) {
			value, v = quoted(v[1:])
		} else {
			end, within := len(v), false
			for j := range len(v) {
				if v[j] == '"' {
					within = !within
				} else if !within && (v[j] == ' ' || v[j] == '\t') {
					end = j
					break
				}
			}
			value, v = v[:end], v[end:]
		}
		take(key, value)
	}
}

// quoted divides what follows an opening quote. By the grammar a quote never stands within; one that is not followed by a space came from
// somebody who did not encode it, maybe with a backslash of his own.
func quoted(v string) (value, rest string) {
	sloppy := false
	for i := range len(v) {
		if v[i] != '"' {
			continue
		}
		if i+1 == len(v) || v[i+1] == ' ' || v[i+1] == '\t' {
			value, rest = v[:i], v[i+1:]
			if sloppy {
				value = strings.ReplaceAll(value, `\"`, `"`)
			}
			return value, rest
		}
		sloppy = true
	}
	return v, ""
}

func (f *File) selector(key, v string) {
	switch key {
	case "name":
		if v = decodeFileText(v); f.Name == "" && len(v) <= maxFileText {
			f.Name = v
		}
	case "type":
		if f.Type == "" {
			f.Type = decodeFileType(v)
		}
	case "size":
		if n, err := strconv.ParseInt(v, 10, 64); err == nil && n > 0 && f.Size == 0 {
			f.Size = n
		}
	case "hash":
		name, digits, _ := strings.Cut(v, ":")
		sum, err := hex.DecodeString(strings.ReplaceAll(digits, ":", ""))
		name = strings.ToLower(name)
		if err == nil && !slices.ContainsFunc(f.Hashes, func(h Hash) bool { return h.Algorithm == name }) &&
			slices.ContainsFunc(hashes, func(k knownHash) bool { return k.name == name && k.size == len(sum) }) {
			f.Hashes = append(f.Hashes, Hash{name, sum})
		}
	}
}

func (f *File) date(key, v string) {
	at, err := mail.ParseDate(v)
	if err != nil || !datable(at) {
		return
	}
	for name, field := range map[string]*time.Time{"creation": &f.Created, "modification": &f.Modified, "read": &f.Read} {
		if name == key && field.IsZero() {
			*field = at.UTC()
		}
	}
}

// datable reports whether RFC 5322 has a year for the time (§3.3: 4 digits, 1900 or later).
func datable(t time.Time) bool { y := t.UTC().Year(); return y >= 1900 && y <= 9999 }

func readRange(v string) Range {
	first, last, ok := strings.Cut(v, "-")
	start, err := strconv.ParseInt(strings.TrimSpace(first), 10, 64)
	end, err2 := int64(0), error(nil)
	if last = strings.TrimSpace(last); last != "*" {
		end, err2 = strconv.ParseInt(last, 10, 64)
	}
	if r := (Range{start, end}); ok && err == nil && err2 == nil && r.within(0) && (last == "*") == (end == 0) {
		return r
	}
	return Range{}
}

// encodeFileText writes the text between quotes (filename-string). Besides what must not stand there, control characters
// and what some system takes for a directory are percent-encoded.
func encodeFileText(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == 0x7f || strings.IndexByte(`"%/\:`, c) >= 0 {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// decodeFileText reads it. A percent sign without two digits is one; what is no UTF-8 becomes U+FFFD.
func decodeFileText(s string) string {
	if strings.IndexByte(s, '%') >= 0 {
		b := make([]byte, 0, len(s))
		for i := 0; i < len(s); i++ {
			if s[i] == '%' && i+2 < len(s) {
				if c, err := hex.DecodeString(s[i+1 : i+3]); err == nil {
					b = append(b, c[0])
					i += 2
					continue
				}
			}
			b = append(b, s[i])
		}
		s = string(b)
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// encodeFileType writes a Content-Type as filetype-selector: no white space, every parameter in quotes.
func encodeFileType(contentType string) (string, error) {
	t, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		return "", err
	}
	if major, minor, ok := strings.Cut(t, "/"); !ok || !isToken(major) || !isToken(minor) {
		return "", errors.New("no type and subtype")
	}
	names := make([]string, 0, len(params))
	for name, v := range params {
		if v != "" && isToken(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		t += ";" + name + `="` + encodeFileText(params[name]) + `"`
	}
	return t, nil
}

// decodeFileType reads it as a Content-Type, with or without quotes; "": it is none.
func decodeFileType(v string) string {
	t, rest, _ := strings.Cut(v, ";")
	t = strings.TrimSpace(t)
	if major, minor, ok := strings.Cut(t, "/"); !ok || !isToken(major) || !isToken(minor) || len(v) > maxFileText {
		return ""
	}
	params := map[string]string{}
	for rest != "" && len(params) < maxTypeParams {
		name, more, ok := strings.Cut(rest, "=")
		if !ok {
			break
		}
		value := ""
		if strings.HasPrefix(more, `"`) {
			value, rest, _ = strings.Cut(more[1:], `"`)
			_, rest, _ = strings.Cut(rest, ";")
		} else {
			value, rest, _ = strings.Cut(more, ";")
		}
		name = strings.ToLower(strings.TrimSpace(name))
		if value = decodeFileText(value); value != "" && isToken(name) && !strings.ContainsRune(name, '*') && params[name] == "" {
			params[name] = value
		}
	}
	whole := mime.FormatMediaType(t, params)
	if written, err := encodeFileType(whole); err != nil || len(written) > maxFileText {
		return strings.ToLower(t) // escaped, the parameters are too long to be passed on
	}
	return whole
}

func colons(sum []byte) string {
	digits := strings.ToUpper(hex.EncodeToString(sum))
	var b strings.Builder
	for i := 0; i < len(digits); i += 2 {
		if i > 0 {
			b.WriteByte(':')
		}
		b.WriteString(digits[i : i+2])
	}
	return b.String()
}

// isContentID reports whether s can be the addr-spec of a Content-ID (RFC 2392 §2).
func isContentID(s string) bool {
	return s != "" && len(s) <= maxFileText && utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '<' || r == '>' })
}

// encodeContentID escapes what must not stand in a cid URL (RFC 2392 §2).
func encodeContentID(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~!$&'*+=@", c) >= 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// isToken is RFC 8866 §9's token.
func isToken(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`"(),/:;<=>?@[\]`, c) >= 0 {
			return false
		}
	}
	return s != "" && len(s) <= maxFileText
}
