package msrpsdp

import (
	"bytes"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// File describes a file and its transfer (RFC 5547 §6). Zero fields are not said. One medium, one MSRP session and
// one MSRP message carry one file (§8.7); who sends it is the medium's direction:
//
//	               selector                     transfer id   disposition, dates, icon     range
//	push offer     type, size or hash, name     ours, new     as they are                  as it is      sendonly (§8.2.1)
//	its answer     the offer's                  the offer's   none                         the offer's   recvonly (§8.3.1)
//	pull offer     whatever names the file      ours, new     none                         as it is      recvonly (§8.2.2)
//	its answer     type and hash of the file    the offer's   disposition, icon            the offer's   sendonly (§8.3.2)
//	refusal        the offer's, as it came      the offer's   none                         none          port 0 (§8.3)
type File struct {
	Name        string // as its sender calls it; a file system sees LocalName
	Type        string // as in Content-Type
	Size        int64  // in octets; that a file is empty can't be said (RFC 8866 §9, integer)
	Hashes      []Hash // of the whole file, even where Range is a part of it
	TransferID  string // of this transfer; an equal one in a re-offer starts nothing (§8.1)
	Disposition string // "attachment" waits for the user; "" is "render" (§7)
	Created     time.Time
	Modified    time.Time
	Read        time.Time
	Icon        string // Content-ID of a preview beside the description, without angle brackets (§8.8)
	Range       Range
}

// Hash is a file's hash: "sha-1", which RFC 5547 wants, or "sha-256".
type Hash struct {
	Algorithm string
	Sum       []byte
}

// Range is the part of a file that is transferred, its first octet being 1. The zero Range is the whole file.
type Range struct {
	Start int64
	End   int64 // inclusive; 0 where Start isn't: up to the end
}

// knownHash is an algorithm with its textual name.
type knownHash struct {
	name string
	size int
	new  func() hash.Hash
}

// hashes are the algorithms that are known. SHA-1 comes first: it must be there where any is (§6).
var hashes = []knownHash{{"sha-1", sha1.Size, sha1.New}, {"sha-256", sha256.Size, sha256.New}}

// NewTransferID makes an id for a new transfer: 32 characters, as §8.1 recommends. A transfer that is resumed is a new one.
func NewTransferID() string { return (rand.Text() + rand.Text())[:32] }

// Selects reports whether the description names a file. One that doesn't says that files can be transferred (§8.5).
func (f File) Selects() bool {
	return f.Name != "" || f.Type != "" || f.Size > 0 || len(f.Hashes) > 0
}

// Fits reports whether two descriptions can be of one file: nothing that both say differs. It is how a sender finds
// what is asked for (§8.3.2), and how a re-offer that means another file is known (§8.1). Parameters of types don't count.
func (f File) Fits(g File) bool {
	differ := func(a, b string) bool { return a != "" && b != "" && a != b }
	if differ(f.Name, g.Name) || differ(mediaType(f.Type), mediaType(g.Type)) || f.Size > 0 && g.Size > 0 && f.Size != g.Size {
		return false
	}
	for _, h := range f.Hashes {
		if slices.ContainsFunc(g.Hashes, func(o Hash) bool { return o.Algorithm == h.Algorithm && !bytes.Equal(o.Sum, h.Sum) }) {
			return false
		}
	}
	return true
}

func mediaType(contentType string) string {
	t, _, _ := strings.Cut(contentType, ";")
	return strings.ToLower(strings.TrimSpace(t))
}

// within reports whether the range lies in a file of the size; 0: unknown.
func (r Range) within(size int64) bool {
	return r == Range{} || r.Start >= 1 && (r.End == 0 || r.End >= r.Start) && (size == 0 || r.Start <= size && r.End <= size)
}

// whole makes a range that is all of the file the zero Range.
func (r Range) whole(size int64) Range {
	if r.Start <= 1 && (r.End == 0 || r.End == size) {
		return Range{}
	}
	return r
}

// Length is how many octets of a file of the size are transferred; 0: not known.
func (r Range) Length(size int64) int64 {
	if r.End > 0 {
		size = r.End
	}
	if r.Start > 1 && size > 0 {
		size -= r.Start - 1
	}
	return max(size, 0)
}

// maxLocalName is what common file systems take, in octets.
const maxLocalName = 255

// LocalName is the name made safe for a file system: no directories, no characters that one of the common systems
// reads as such or that deceive the eye (§6: the receiver sanitizes), and never empty.
func (f File) LocalName() string {
	name := strings.Map(func(r rune) rune {
		switch {
		case r == utf8.RuneError, unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp): // RIGHT-TO-LEFT OVERRIDE and its like
			return -1
		case unicode.IsControl(r), strings.ContainsRune(`/\:*?"<>|`, r):
			return '_'
		}
		return r
	}, f.Name)
	name = strings.TrimRight(strings.TrimLeft(name, " ."), " .")
	if len(name) > maxLocalName {
		stem, suffix := name, ""
		if i := strings.LastIndexByte(name, '.'); i > 0 && len(name)-i <= 16 {
			stem, suffix = name[:i], name[i:]
		}
		n := maxLocalName - len(suffix)
		for !utf8.RuneStart(stem[n]) {
			n--
		}
		name = stem[:n] + suffix
	}
	if name == "" {
		return "file"
	}
	return name
}

// ErrFileDiffers means that a file isn't the one that was described: the transfer failed (§8.2.2, §8.3.1).
var ErrFileDiffers = errors.New("file differs from its description")

// Verifier compares a file with its description while it streams by. It takes the whole file, whatever Range is.
type Verifier struct {
	file File
	size int64
	sums []hash.Hash // like file.Hashes
}

var _ io.Writer = (*Verifier)(nil)

// Verifier makes one.
func (f File) Verifier() *Verifier {
	v := &Verifier{file: f}
	v.file.Hashes = nil
	for _, h := range f.Hashes {
		if i := slices.IndexFunc(hashes, func(k knownHash) bool { return k.name == h.Algorithm }); i >= 0 {
			v.file.Hashes, v.sums = append(v.file.Hashes, h), append(v.sums, hashes[i].new())
		}
	}
	return v
}

// Write takes the next octets. It never fails.
func (v *Verifier) Write(p []byte) (int, error) {
	v.size += int64(len(p))
	for _, s := range v.sums {
		s.Write(p) // never fails
	}
	return len(p), nil
}

// Err tells at the end whether size and hashes are as described: nil or ErrFileDiffers.
func (v *Verifier) Err() error {
	if v.file.Size > 0 && v.file.Size != v.size {
		return fmt.Errorf("%w: %d octets, not %d", ErrFileDiffers, v.size, v.file.Size)
	}
	for i, s := range v.sums {
		if h := v.file.Hashes[i]; !bytes.Equal(s.Sum(nil), h.Sum) {
			return fmt.Errorf("%w: %s", ErrFileDiffers, h.Algorithm)
		}
	}
	return nil
}

// Hashing makes the hashes of a file for its description.
func Hashing(r io.Reader) ([]Hash, error) {
	sums := make([]hash.Hash, len(hashes))
	all := make([]io.Writer, len(hashes))
	for i, h := range hashes {
		sums[i] = h.new()
		all[i] = sums[i]
	}
	if _, err := io.Copy(io.MultiWriter(all...), r); err != nil {
		return nil, fmt.Errorf("hash file: %w", err)
	}
	result := make([]Hash, len(hashes))
	for i, h := range hashes {
		result[i] = Hash{h.name, sums[i].Sum(nil)}
	}
	return result, nil
}

// offerFile prepares the lines of an offer's file: pushed where we send, pulled where we receive (§8.2).
func (l *Local) offerFile() (err error) {
	f := *l.File
	switch {
	case f.TransferID == "":
		err = errors.New("no file-transfer-id (RFC 5547 §8.2)")
	case l.Direction == "sendonly" && f.Type == "" && f.Size <= 0 && len(f.Hashes) == 0:
		err = errors.New("a file is sent without type, size or hash (RFC 5547 §8.2.1)")
	case l.Direction == "recvonly" && !f.Selects():
		err = errors.New("a file is asked for without a selector (RFC 5547 §8.2.2)")
	case l.Direction != "sendonly" && l.Direction != "recvonly":
		err = fmt.Errorf("a file goes one way, not %q (RFC 5547 §8)", l.Direction)
	case !f.Range.within(f.Size):
		err = errors.New("file-range is not within the file")
	}
	if err != nil {
		return fmt.Errorf("msrp offer: %w", err)
	}
	if l.Direction == "recvonly" { // §8.2.2: further attributes are not needed
		f.Disposition, f.Icon, f.Created, f.Modified, f.Read = "", "", time.Time{}, time.Time{}, time.Time{}
	}
	l.fileLines, err = f.lines()
	return err
}

// answerFile prepares the lines of the answer to an offered file. l.Direction is the answer's already. An error
// means that we can't take it, or haven't got it.
func (l *Local) answerFile(offered File) (err error) {
	f := offered
	switch {
	case !offered.Fits(*l.File):
		return errors.New("another file than the one that is asked for (RFC 5547 §8.3.2)")
	case !offered.Range.within(max(offered.Size, l.File.Size)):
		return errors.New("file-range is not within the file")
	case l.Direction == "sendonly" && !l.File.Selects():
		return errors.New("no file is chosen (RFC 5547 §8.3.2)")
	}
	switch l.Direction {
	case "sendonly":
		// §8.3.2: type and hash say which file it is; the rest is in the Content-Disposition of the message itself.
		f.Disposition, f.Icon = l.File.Disposition, l.File.Icon
		if l.File.Type != "" || len(l.File.Hashes) > 0 {
			f.Name, f.Size, f.Type, f.Hashes = "", 0, l.File.Type, l.File.Hashes
		}
	default:
		if n := offered.Range.Length(offered.Size); l.MaxSize > 0 && n > l.MaxSize {
			return fmt.Errorf("a file of %d octets, max-size is %d (RFC 5547 §8.7)", n, l.MaxSize)
		}
		f.Disposition, f.Icon = "", ""
	}
	f.Created, f.Modified, f.Read = time.Time{}, time.Time{}, time.Time{}
	l.fileLines, err = f.lines()
	return err
}

// concludeFile compares the answer to an offered file with it (§8.3.1, §8.3.2).
func concludeFile(offered, answered *File) error {
	switch {
	case offered == nil || answered == nil:
		return nil
	case !offered.Fits(*answered):
		return fmt.Errorf("%w: the answer is about another file", ErrNotAcceptable)
	case offered.Range.whole(offered.Size) != answered.Range.whole(offered.Size):
		return fmt.Errorf("%w: the answer has another file-range", ErrNotAcceptable)
	}
	return nil
}
