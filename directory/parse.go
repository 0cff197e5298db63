package directory

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"gopkg.in/yaml.v3"

	"latchkey"
)

// maxText is the length of a name or uid in characters.
const maxText = 128

// wrong is what is wrong with the file, and where.
type wrong struct {
	node *yaml.Node
	what string
}

func (w *wrong) Error() string { return w.what }

func errorAt(n *yaml.Node, format string, args ...any) error {
	return &wrong{n, fmt.Sprintf(format, args...)}
}

// readFile reads the whole file, strictly: what isn't understood is an error and not a surprise later.
func readFile(path string) (*snapshot, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	s, err := parse(text)
	if w, ok := errors.AsType[*wrong](err); ok {
		return nil, fmt.Errorf("%s:%d: %w", path, w.node.Line, err)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}

func parse(text []byte) (*snapshot, error) {
	s := &snapshot{uris: map[string]int{}, tels: map[string]int{}, emails: map[string]int{}, proven: &proven{until: map[[sha256.Size]byte]time.Time{}}}
	var doc, second yaml.Node
	dec := yaml.NewDecoder(bytes.NewReader(text))
	if err := dec.Decode(&doc); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if len(doc.Content) == 0 || doc.Content[0].Tag == "!!null" {
		return nil, errors.New("is empty; it looks like users: and a list of them")
	}
	if err := dec.Decode(&second); err == nil {
		return nil, errorAt(&second, "a second document begins here; the file is one")
	} else if !errors.Is(err, io.EOF) {
		return nil, err
	}
	var users *yaml.Node
	err := fields(doc.Content[0], []string{"users"}, func(_ string, v *yaml.Node) error {
		users = v
		return nil
	})
	switch {
	case err != nil:
		return nil, err
	case users == nil:
		return nil, errorAt(doc.Content[0], "users: is missing")
	case users.Kind != yaml.SequenceNode && users.Tag != "!!null":
		return nil, errorAt(users, "users: must be a list")
	}
	r := reader{s, map[string]*yaml.Node{}}
	for _, n := range users.Content {
		if err := r.user(n); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// fields calls f for each field of a mapping, and refuses those that are unknown or stand there twice.
func fields(n *yaml.Node, known []string, f func(name string, value *yaml.Node) error) error {
	if n.Kind != yaml.MappingNode {
		return errorAt(n, "must be fields with values, such as %s: …", known[0])
	}
	var seen []string
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		switch {
		case !slices.Contains(known, key.Value):
			return errorAt(key, "%s: is not a field; known are %s", key.Value, strings.Join(known, ", "))
		case slices.Contains(seen, key.Value):
			return errorAt(key, "%s: stands here a second time", key.Value)
		}
		seen = append(seen, key.Value)
		if err := f(key.Value, value); err != nil {
			return err
		}
	}
	return nil
}

// reader fills a snapshot and remembers where each value stood that must be unique.
type reader struct {
	s     *snapshot
	stood map[string]*yaml.Node
}

var userFields = []string{"uri", "uid", "tel", "email", "name", "password", "digest", "level", "state", "language"}

func (r *reader) user(n *yaml.Node) error {
	e := entry{Subscriber: latchkey.Subscriber{State: latchkey.Active}}
	at := map[string]*yaml.Node{}
	err := fields(n, userFields, func(name string, v *yaml.Node) error {
		if v.Kind == yaml.AliasNode {
			v = v.Alias
		}
		if v.Kind != yaml.ScalarNode || v.Tag == "!!null" {
			return errorAt(v, "%s: must be one plain value", name)
		}
		at[name] = v
		if err := e.set(name, v.Value); err != nil {
			return errorAt(v, "%s: %s", name, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if e.URI.IsZero() {
		return errorAt(n, "uri: is missing")
	}
	i := len(r.s.entries)
	if err := r.once("uri", e.URI.Identity(), at["uri"], r.s.uris, i); err != nil {
		return err
	}
	if err := r.once("uid", e.UID, at["uid"], nil, i); err != nil {
		return err
	}
	if err := r.once("tel", e.Tel, at["tel"], r.s.tels, i); err != nil {
		return err
	}
	if err := r.once("email", e.Email, at["email"], r.s.emails, i); err != nil {
		return err
	}
	// A number in the URI is theirs, too: whoever is invited by it is registered.
	if own := e.URI.Number(); own != "" && own != e.Tel {
		if err := r.once("tel", own, at["uri"], r.s.tels, i); err != nil {
			return err
		}
		if e.Tel == "" {
			e.Tel = own
		}
	}
	if e.hash != nil {
		r.s.secured = append(r.s.secured, i)
	}
	r.s.entries = append(r.s.entries, e)
	return nil
}

// once puts a value that only one user may have into its index.
func (r *reader) once(field, value string, at *yaml.Node, index map[string]int, i int) error {
	if value == "" {
		return nil
	}
	key := field + " " + value
	if before, ok := r.stood[key]; ok {
		return errorAt(at, "%s: %s is another user's, of line %d", field, value, before.Line)
	}
	r.stood[key] = at
	if index != nil {
		index[value] = i
	}
	return nil
}

// set reads one field of a user.
func (e *entry) set(name, value string) (err error) {
	switch name {
	case "uri":
		e.URI, err = latchkey.ParseAddress(value)
		if err == nil && (e.URI.User() == "" || e.URI.Port() != 0) {
			err = errors.New("must name a person, without a port; for example sip:a@cc.com")
		}
	case "uid":
		e.UID, err = plain(value)
	case "name":
		e.Name, err = plain(value)
	case "tel":
		var id latchkey.Identifier
		id, err = latchkey.ParseTel(value)
		e.Tel = id.Value
	case "email":
		var id latchkey.Identifier
		id, err = latchkey.ParseMail(value)
		e.Email = id.Value
	case "password":
		e.hash, err = parseHash(value)
	case "digest":
		e.digests, err = parseDigests(value)
	case "level":
		e.Level, err = strconv.Atoi(value)
		if err != nil || e.Level < 0 {
			err = errors.New("must be a whole number of 0 and up")
		}
	case "language":
		if e.Language, err = plain(value); err == nil && !languageTag.MatchString(value) {
			err = fmt.Errorf("%q is not a language tag, such as de or pt-BR", value)
		}
	case "state":
		e.State = latchkey.SubscriberState(value)
		if !slices.Contains([]latchkey.SubscriberState{latchkey.Active, latchkey.Suspended, latchkey.Lost}, e.State) {
			err = fmt.Errorf("%q is not active, suspended or lost", value)
		}
	}
	if e, ok := errors.AsType[*latchkey.Error](err); ok {
		_, public, _ := strings.Cut(e.Public, ": ") // it begins with the field's name
		return errors.New(public)
	}
	return err
}

// languageTag is the form of RFC 5646 §2.1, as far as people use it.
var languageTag = regexp.MustCompile(`^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$`)

// plain is a line of text that people read.
func plain(s string) (string, error) {
	switch {
	case strings.TrimSpace(s) == "":
		return "", errors.New("is empty; leave it out")
	case utf8.RuneCountInString(s) > maxText:
		return "", fmt.Errorf("is longer than %d characters", maxText)
	case strings.ContainsFunc(s, unicode.IsControl):
		return "", errors.New("has a control character")
	}
	return s, nil
}
