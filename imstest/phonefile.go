package imstest

import (
	"bytes"
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
)

// FileTags are those of a client that takes files over MSRP and over HTTP; HTTPFileTags those of one that takes them over HTTP only.
const (
	FileTags     = `+g.3gpp.icsi-ref="urn%3Aurn-7%3A3gpp-service.ims.icsi.oma.cpm.session";+g.3gpp.iari-ref="urn%3Aurn-7%3A3gpp-application.ims.iari.rcse.im,urn%3Aurn-7%3A3gpp-application.ims.iari.rcse.ft,urn%3Aurn-7%3A3gpp-application.ims.iari.rcs.fthttp"`
	HTTPFileTags = `+g.3gpp.icsi-ref="urn%3Aurn-7%3A3gpp-service.ims.icsi.oma.cpm.session";+g.3gpp.iari-ref="urn%3Aurn-7%3A3gpp-application.ims.iari.rcse.im,urn%3Aurn-7%3A3gpp-application.ims.iari.rcs.fthttp"`
	TextTags     = `+g.3gpp.icsi-ref="urn%3Aurn-7%3A3gpp-service.ims.icsi.oma.cpm.session";+g.3gpp.iari-ref="urn%3Aurn-7%3A3gpp-application.ims.iari.rcse.im"`
)

// ThumbFileTags are FileTags of a client that takes a small picture with a file over MSRP.
var ThumbFileTags = strings.Replace(FileTags, "rcse.ft,", "rcse.ft,urn%3Aurn-7%3A3gpp-application.ims.iari.rcs.ftthumb,", 1)

// FileManner is how a phone takes files (RFC 5547). Each of CutAt, StopAt and HangUpAt happens once, after so many octets; 0: not.
type FileManner struct {
	Code          int             // to INVITEs with a file; 0: 200
	MaxSize       int64           // larger ones get 413
	AnswerMaxSize int64           // a=max-size of the answer
	NoRange       bool            // a part of a file is refused (RFC 5547 §8.3.1)
	NoParts       bool            // a body of several parts gets 415
	CPIMOnly      bool            // a=accept-types has message/cpim alone
	CutAt         int64           // the connection is closed
	StopAt        int64           // the chunk is answered 413, and the call ended
	HangUpAt      int64           // the call is ended
	Discard       bool            // octets are counted, and neither kept nor hashed
	Pause         <-chan struct{} // nothing is read until it is closed
	Progress      func(got int64) // is told, chunk by chunk, how many octets of a transfer are there; it must not block
}

// PhoneFile is a file as it was offered to a phone, and what came of it.
type PhoneFile struct {
	Name, Type, TransferID, Disposition, SHA1 string // of the offer; SHA1 in hex
	Size                                      int64
	Start                                     int64  // of a=file-range, counted from 1; 0: the whole file
	Got                                       int64  // octets of this transfer
	Icon                                      []byte // the small picture that came with the offer
	Sum                                       string // SHA-1 of the file as the phone has it, in hex
}

// fileLines are a description's attributes of a file (RFC 5547 §6).
type fileLines struct {
	name, kind, hash, id, disposition, icon, span, selector string
	size, start, end                                        int64
	picture                                                 []byte // what icon names
}

var (
	fileName = regexp.MustCompile(`(?:^| )name:"([^"]*)"`)
	fileKind = regexp.MustCompile(`(?:^| )type:([^ ]+)`)
	fileSize = regexp.MustCompile(`(?:^| )size:(\d+)`)
	fileHash = regexp.MustCompile(`(?:^| )hash:sha-1:((?:[0-9A-F]{2}:){19}[0-9A-F]{2})(?: |$)`)
	fileSpan = regexp.MustCompile(`^(\d+)-(\d+|\*)$`)
)

func submatch(re *regexp.Regexp, s string) string {
	if m := re.FindStringSubmatch(s); m != nil {
		return m[1]
	}
	return ""
}

// readFile takes an attribute that is about a file.
func (r *remoteMedia) readFile(name, value string) {
	if !strings.HasPrefix(name, "file-") {
		return
	}
	if r.file == nil {
		r.file = &fileLines{}
	}
	f := r.file
	switch name {
	case "file-selector":
		f.selector = value
		f.name, f.kind = submatch(fileName, value), submatch(fileKind, value)
		f.size, _ = strconv.ParseInt(submatch(fileSize, value), 10, 64)
		f.hash = strings.ToLower(strings.ReplaceAll(submatch(fileHash, value), ":", ""))
	case "file-transfer-id":
		f.id = value
	case "file-disposition":
		f.disposition = value
	case "file-icon":
		f.icon = value
	case "file-range":
		f.span = value
		if m := fileSpan.FindStringSubmatch(value); m != nil {
			f.start, _ = strconv.ParseInt(m[1], 10, 64)
			f.end, _ = strconv.ParseInt(m[2], 10, 64)
		}
	}
}

// checkFile looks at an INVITE that offers a file and gives the code of the answer.
func (p *Phone) checkFile(m *Message, r remoteMedia, manner Manner) int {
	wrong := func(format string, args ...any) { p.violation("file INVITE: "+format, args...) }
	f := r.file
	switch {
	case f.selector == "":
		wrong("no file-selector")
	case f.name == "" || f.kind == "" || f.size == 0 || f.hash == "":
		wrong("the selector %q lacks name, type, size or SHA-1 (RFC 5547 §8.2.1)", f.selector)
	case len(f.id) < 16:
		wrong("file-transfer-id %q (RFC 5547 §8.1)", f.id)
	case r.direction != "sendonly":
		wrong("direction %q (RFC 5547 §8.2.1)", r.direction)
	case f.span != "" && f.start == 0:
		wrong("file-range %q", f.span)
	case len(r.types) == 0:
		wrong("no a=accept-types (RFC 4975 §8.6)")
	}
	if !p.once("transfer " + f.id) {
		wrong("file-transfer-id %s was there before (RFC 5547 §8.1)", f.id)
	}
	if ac := m.Get("Accept-Contact"); !strings.Contains(ac, "rcse.ft") {
		wrong("Accept-Contact %q does not ask for a client that takes files", ac)
	}
	if f.icon != "" {
		f.picture = p.icon(m, f.icon, manner)
	}
	switch code := manner.Files.Code; {
	case manner.Files.NoParts && strings.HasPrefix(m.Get("Content-Type"), "multipart/"):
		return 415
	case code != 0:
		return code
	case manner.Files.MaxSize > 0 && f.size > manner.Files.MaxSize:
		return 413
	case f.start > 1 && (manner.Files.NoRange || p.has(f.hash) < f.start-1):
		return 488
	}
	return 200
}

// icon looks for the body part that a=file-icon names (RFC 5547 §6, §8.8).
func (p *Phone) icon(m *Message, name string, manner Manner) []byte {
	wrong := func(format string, args ...any) []byte { p.violation("file icon: "+format, args...); return nil }
	id, ok := strings.CutPrefix(name, "cid:")
	if !ok {
		return wrong("%q is no cid: URL", name)
	}
	if !strings.Contains(manner.Tags, "rcs.ftthumb") {
		wrong("the phone does not say that it takes one (PROTOCOLS B3.03)")
	}
	_, params, err := mime.ParseMediaType(m.Get("Content-Type"))
	if err != nil || params["type"] != "application/sdp" {
		return wrong("content type %q", m.Get("Content-Type"))
	}
	parts := multipart.NewReader(bytes.NewReader(m.Body), params["boundary"])
	for i := 0; ; i++ {
		part, err := parts.NextRawPart()
		if err != nil {
			return wrong("no part %s: %v", id, err)
		}
		kind := part.Header.Get("Content-Type")
		if i == 0 && kind != "application/sdp" {
			return wrong("the first part is %s", kind)
		}
		if part.Header.Get("Content-ID") != "<"+id+">" {
			continue
		}
		b, err := io.ReadAll(part)
		if err != nil || part.Header.Get("Content-Disposition") != "icon" || !strings.HasPrefix(kind, "image/") || part.Header.Get("Content-Length") != strconv.Itoa(len(b)) {
			return wrong("part %v of %d octets, %v", part.Header, len(b), err)
		}
		return b
	}
}

// has is how many octets of a file are there.
func (p *Phone) has(hash string) int64 {
	p.pmu.Lock()
	defer p.pmu.Unlock()
	if f := p.parts[hash]; f != nil {
		if s, err := f.Stat(); err == nil {
			return s.Size()
		}
	}
	return 0
}

// fileTransfer is one file on its way, in either direction.
type fileTransfer struct {
	phone  *Phone
	call   *phoneCall
	ep     *endpoint
	offer  *fileLines // of the peer; nil: the phone sends
	own    string     // the phone's own attributes
	types  string     // a=accept-types
	sends  bool
	out    *os.File
	mu     sync.Mutex
	got    int64
	head   []byte // of a CPIM wrapper, until it is over
	opened bool
	over   bool
}

// takeFile makes what takes the file of an offer.
func (p *Phone) takeFile(c *phoneCall, ep *endpoint, r remoteMedia, manner Manner) (*fileTransfer, error) {
	p.pmu.Lock()
	out := p.parts[r.file.hash]
	p.pmu.Unlock()
	if out == nil && !manner.Files.Discard {
		var err error
		if out, err = os.CreateTemp("", "phone"); err != nil {
			return nil, err
		}
		p.pmu.Lock()
		p.parts[r.file.hash] = out
		p.pmu.Unlock()
	}
	t := &fileTransfer{phone: p, call: c, ep: ep, offer: r.file, out: out, types: r.file.kind}
	if manner.Files.CPIMOnly {
		t.types = "message/cpim\r\na=accept-wrapped-types:*"
	}
	t.own = "a=file-selector:" + r.file.selector + "\r\na=file-transfer-id:" + r.file.id + "\r\n"
	if r.file.span != "" {
		t.own += "a=file-range:" + r.file.span + "\r\n"
	}
	if out == nil {
		return t, nil
	}
	return t, out.Truncate(max(r.file.start-1, 0))
}

// sdp writes the description of the transfer.
func (t *fileTransfer) sdp(ep *endpoint, host, port, family, transport, setup string, manner Manner) []byte {
	direction := "recvonly"
	if t.sends {
		direction = "sendonly"
	}
	s := fmt.Sprintf("v=0\r\no=- %d %d IN %s %s\r\ns=-\r\nc=IN %s %s\r\nt=0 0\r\nm=message %s %s *\r\n"+
		"a=accept-types:%s\r\na=setup:%s\r\na=path:%s\r\na=%s\r\n%s",
		ep.born.Unix(), ep.born.UnixMicro(), family, host, family, host, port, transport, t.types, setup, ep.local, direction, t.own)
	if n := manner.Files.AnswerMaxSize; n > 0 && !t.sends {
		s += fmt.Sprintf("a=max-size:%d\r\n", n)
	}
	if !manner.NoCEMA {
		s += "a=msrp-cema\r\n"
	}
	if ep.tls {
		s += ep.phone.fingerprintLine()
	}
	return []byte(s)
}

func (t *fileTransfer) described() *PhoneFile {
	return &PhoneFile{Name: t.offer.name, Type: t.offer.kind, TransferID: t.offer.id, Disposition: t.offer.disposition, SHA1: t.offer.hash, Size: t.offer.size, Start: t.offer.start, Got: t.got, Icon: t.offer.picture}
}

// collect takes a chunk of the file and returns the status that answers it. Chunks come in order on one connection.
func (t *fileTransfer) collect(f *frame) int {
	if !f.hasBody {
		return 200
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	p, manner := t.phone, t.phone.mannered().Files
	if manner.Pause != nil {
		select {
		case <-manner.Pause:
		case <-t.call.over:
		case <-p.done:
		}
	}
	wrapped := mediaType(f.get("Content-Type")) == "message/cpim"
	if kind := mediaType(f.get("Content-Type")); kind != mediaType(t.offer.kind) && !wrapped || wrapped != manner.CPIMOnly {
		p.violation("file: content type %q, the offer says %q", kind, t.offer.kind)
		return 415
	}
	start, end, total := byteRange(f.get("Byte-Range"))
	if len(f.body) > 2048 && end >= 0 {
		p.violation("msrp: a chunk of %d octets has a range-end (RFC 4975 §7.1.1)", len(f.body))
	}
	if want := t.got + int64(len(t.head)) + 1; !wrapped && start != want {
		p.violation("file: chunk at %d, want %d", start, want)
	}
	body := f.body
	if wrapped && !t.opened {
		t.head = append(t.head, body...)
		_, rest, ok := strings.Cut(string(t.head), "\r\n\r\n")
		var content string
		if ok {
			_, content, ok = strings.Cut(rest, "\r\n\r\n")
		}
		if !ok {
			return 200
		}
		t.opened, t.head, body = true, nil, []byte(content)
	}
	if t.out != nil {
		if _, err := t.out.WriteAt(body, max(t.offer.start-1, 0)+t.got); err != nil {
			p.violation("file: %v", err)
			return 413
		}
	}
	before := t.got
	t.got += int64(len(body))
	if manner.Progress != nil {
		manner.Progress(t.got)
	}
	passes := func(at int64) bool { return at > 0 && before < at && t.got >= at }
	switch {
	case passes(manner.CutAt):
		p.Behave(func(m *Manner) { m.Files.CutAt = 0 })
		t.lost()
		t.ep.close()
		return 200
	case passes(manner.StopAt):
		p.Behave(func(m *Manner) { m.Files.StopAt = 0 })
		t.lost()
		p.spawn(func() { p.bye(t.call) })
		return 413
	case passes(manner.HangUpAt):
		p.Behave(func(m *Manner) { m.Files.HangUpAt = 0 })
		t.lost()
		p.spawn(func() { p.bye(t.call) })
		select { // nothing more is taken, or a fast sender would be through before the BYE
		case <-t.call.over:
		case <-p.done:
		}
		return 200
	}
	switch f.flag {
	case '#':
		t.lost()
	case '$':
		want := t.offer.size - max(t.offer.start-1, 0)
		if t.offer.end > 0 {
			want = t.offer.end - max(t.offer.start-1, 0)
		}
		if !wrapped && (total != t.got || t.got != want) || wrapped && t.got != want {
			p.violation("file: %d octets came, Byte-Range says %d, the offer %d", t.got, total, want)
		}
		if f.get("Success-Report") == "yes" {
			t.ep.mu.Lock()
			t.ep.report(f, f.get("Message-ID"), int(start)-1+len(f.body))
			t.ep.mu.Unlock()
		}
		t.over = true
		e := t.described()
		e.Sum = t.sum()
		p.tell(PhoneEvent{Type: "file", Peer: t.call.peer, ID: e.TransferID, File: e})
	}
	return 200
}

// lost tells that a file did not come whole.
func (t *fileTransfer) lost() {
	if !t.over {
		t.over = true
		t.phone.tell(PhoneEvent{Type: "filecut", Peer: t.call.peer, ID: t.offer.id, File: t.described()})
	}
}

func (t *fileTransfer) sum() string {
	if t.out == nil {
		return ""
	}
	h := sha1.New()
	if _, err := io.Copy(h, io.NewSectionReader(t.out, 0, 1<<62)); err != nil {
		return err.Error()
	}
	return hex.EncodeToString(h.Sum(nil))
}
