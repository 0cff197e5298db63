package imstest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf16"
)

// SMS is a short message that an SMSC took: one part as it came, or, from Wait, the whole text.
type SMS struct {
	ID          string // as submit_sm_resp gave it
	From, To    string
	TON, NPI    [2]byte // of From and To
	Class       byte
	Coding      byte
	Registered  byte
	Raw         []byte // short_message or message_payload
	TLVs        map[uint16][]byte
	Text        string
	Ref         int // of a long message; -1: it is a short one
	Part, Parts int
	Time        time.Time
}

// SMSCManner is how an SMSC behaves. The zero value takes everything and says no more.
type SMSCManner struct {
	Receipt string                          // state of the receipt that follows what asks for one, such as DELIVRD; "": none
	Early   bool                            // the receipt comes before the answer
	Data    bool                            // receipts are data_sm with parameters instead of deliver_sm with text
	Decimal bool                            // receipts write ids in decimal, answers in hexadecimal
	Answer  func(nth int, m SMS) uint32     // command_status of the nth submission from 1; nil: 0
	HangUp  func(nth int, m SMS) bool       // closes the connection instead of answering
	Silent  bool                            // takes and answers nothing but binds
	Refuse  uint32                          // command_status of binds
	Bound   func(systemID, password string) // is told of binds
}

// SMSC is an SMS centre with wire code of its own.
type SMSC struct {
	ln net.Listener

	mu      sync.Mutex
	manner  SMSCManner
	taken   []SMS
	seen    int // submissions, refused ones too
	next    uint32
	conns   map[*smscConn]int // and which bind it was
	binds   []uint32          // commands
	acks    []uint32          // statuses of deliver_sm_resp and data_sm_resp
	bad     []string
	changed chan struct{} // closed and made anew on every change
	running sync.WaitGroup
}

type smscConn struct {
	net.Conn
	bind uint32 // command; 0: not bound
	wmu  sync.Mutex
	seq  uint32
}

// NewSMSC starts an SMS centre on a free port of 127.0.0.1, or on listen if it is not "".
func NewSMSC(listen string) (*SMSC, error) {
	if listen == "" {
		listen = "127.0.0.1:0"
	}
	ln, err := net.Listen("tcp", listen)
	if err != nil {
		return nil, err
	}
	s := &SMSC{ln: ln, next: 0x1000a, conns: map[*smscConn]int{}, changed: make(chan struct{})}
	s.running.Go(func() { // ends with Close
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			s.running.Go(func() { s.ServeUntilEnd(c) }) // ends with the connection
		}
	})
	return s, nil
}

// ServeUntilEnd speaks on a connection that was made elsewhere, and returns when it has ended.
func (s *SMSC) ServeUntilEnd(c net.Conn) {
	conn := &smscConn{Conn: c}
	s.change(func() { s.conns[conn] = 0 })
	defer s.change(func() { delete(s.conns, conn) })
	defer c.Close()
	s.serve(conn)
}

// Addr is host:port of the centre.
func (s *SMSC) Addr() string { return s.ln.Addr().String() }

// Close stops the centre.
func (s *SMSC) Close() {
	_ = s.ln.Close()
	s.HangUp()
	s.running.Wait()
}

// HangUp closes all connections.
func (s *SMSC) HangUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		_ = c.Close()
	}
}

// Behave changes the manner.
func (s *SMSC) Behave(m SMSCManner) { s.change(func() { s.manner = m }) }

func (s *SMSC) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	close(s.changed)
	s.changed = make(chan struct{})
}

// Taken lists the parts that were accepted, oldest first.
func (s *SMSC) Taken() []SMS {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.taken)
}

// Submissions is how many submit_sm came, refused ones too.
func (s *SMSC) Submissions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen
}

// Binds lists the commands of the binds that were let in.
func (s *SMSC) Binds() []uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.binds)
}

// Acks lists the statuses with which deliveries were answered.
func (s *SMSC) Acks() []uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.acks)
}

// Violations lists what the peer did against the specification.
func (s *SMSC) Violations() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.bad)
}

// Wait waits for the nth whole message to a number, counted from 1.
func (s *SMSC) Wait(ctx context.Context, to string, nth int) (SMS, error) {
	for {
		s.mu.Lock()
		changed, whole := s.changed, assemble(s.taken, to)
		s.mu.Unlock()
		if len(whole) >= nth {
			return whole[nth-1], nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return SMS{}, errors.New("no SMS to " + to)
		}
	}
}

// assemble joins parts as a handset does: by number and reference; a part that came twice counts once.
func assemble(taken []SMS, to string) (whole []SMS) {
	type key struct{ ref, parts int }
	open := map[key]map[int]SMS{}
	for _, m := range taken {
		switch k := (key{m.Ref, m.Parts}); {
		case strings.TrimPrefix(m.To, "+") != strings.TrimPrefix(to, "+"):
		case m.Ref < 0:
			whole = append(whole, m)
		default:
			if open[k] == nil {
				open[k] = map[int]SMS{}
			}
			open[k][m.Part] = m
			if len(open[k]) < m.Parts {
				continue
			}
			var text strings.Builder
			for i := range m.Parts {
				text.WriteString(open[k][i+1].Text)
			}
			m.Text = text.String()
			whole = append(whole, m)
			delete(open, k)
		}
	}
	return whole
}

// Links lists the URLs of the text.
func (m SMS) Links() []string { return link.FindAllString(m.Text, -1) }

// Deliver sends a message from a handset to the peer that is bound for it.
func (s *SMSC) Deliver(from, to, text string) error {
	return s.toReceiver(func(c *smscConn) error {
		body := append([]byte{0}, smscAddress(1, 1, strings.TrimPrefix(from, "+"))...)
		body = append(append(body, smscAddress(1, 1, strings.TrimPrefix(to, "+"))...), 0, 0, 0, 0, 0, 0, 0)
		coding, data := byte(0), []byte(text)
		for _, r := range text {
			if r > 0x7e {
				coding, data = 8, nil
				for _, u := range utf16.Encode([]rune(text)) {
					data = binary.BigEndian.AppendUint16(data, u)
				}
				break
			}
		}
		return c.send(5, 0, 0, append(append(body, coding, 0, byte(len(data))), data...))
	})
}

// Report sends a receipt for an id in a state.
func (s *SMSC) Report(m SMS, state string) error {
	return s.toReceiver(func(c *smscConn) error { return s.report(c, m, state) })
}

func (s *SMSC) toReceiver(f func(*smscConn) error) error {
	s.mu.Lock()
	var to *smscConn
	for c := range s.conns { // the latest one: the end of those before may not have come here yet
		if (c.bind == 1 || c.bind == 9) && (to == nil || s.conns[c] > s.conns[to]) {
			to = c
		}
	}
	s.mu.Unlock()
	if to == nil {
		return errors.New("nobody is bound to receive")
	}
	return f(to)
}

var smscStates = map[string]byte{"ENROUTE": 1, "DELIVRD": 2, "EXPIRED": 3, "DELETED": 4, "UNDELIV": 5, "ACCEPTD": 6, "UNKNOWN": 7, "REJECTD": 8}

func (s *SMSC) report(c *smscConn, m SMS, state string) error {
	s.mu.Lock()
	manner := s.manner
	s.mu.Unlock()
	id := m.ID
	if manner.Decimal {
		var n uint64
		if _, err := fmt.Sscanf(m.ID, "%x", &n); err != nil {
			return err
		}
		id = fmt.Sprintf("%010d", n)
	}
	head := append(append([]byte{0}, smscAddress(m.TON[1], m.NPI[1], m.To)...), smscAddress(m.TON[0], m.NPI[0], m.From)...)
	head = append(head, 0x04)
	if manner.Data {
		body := append(head, 0, 0)
		body = append(append(body, 0, 0x1e, 0, byte(len(id)+1)), id...)
		body = append(body, 0, 4, 0x27, 0, 1, smscStates[state])
		return c.send(0x103, 0, 0, body)
	}
	now := time.Now().Format("0601021504")
	text := fmt.Sprintf("id:%s sub:001 dlvrd:001 submit date:%s done date:%s stat:%s err:000 text:%.20s", id, now, now, state, "id:7 stat:REJECTD")
	body := append(head, 0, 0, 0, 0, 0, 0, 0, 0, byte(len(text)))
	return c.send(5, 0, 0, append(body, text...))
}

func smscAddress(ton, npi byte, digits string) []byte {
	return append(append([]byte{ton, npi}, digits...), 0)
}

// send writes one unit; sequence 0 takes the next one.
func (c *smscConn) send(command, status, sequence uint32, body []byte) error {
	c.wmu.Lock()
	defer c.wmu.Unlock()
	if sequence == 0 {
		c.seq++
		sequence = c.seq
	}
	b := binary.BigEndian.AppendUint32(nil, uint32(16+len(body)))
	for _, n := range []uint32{command, status, sequence} {
		b = binary.BigEndian.AppendUint32(b, n)
	}
	_, err := c.Write(append(b, body...))
	return err
}

// serve reads what the peer sends until the connection ends.
func (s *SMSC) serve(c *smscConn) {
	for {
		var head [16]byte
		if _, err := io.ReadFull(c, head[:]); err != nil {
			return
		}
		size, command, status, seq := binary.BigEndian.Uint32(head[:]), binary.BigEndian.Uint32(head[4:]), binary.BigEndian.Uint32(head[8:]), binary.BigEndian.Uint32(head[12:])
		if size < 16 || size > 100_000 {
			s.violation("command_length %d", size)
			return
		}
		body := make([]byte, size-16)
		if _, err := io.ReadFull(c, body); err != nil {
			return
		}
		s.mu.Lock()
		manner := s.manner
		s.mu.Unlock()
		switch command {
		case 1, 2, 9:
			f := strings.SplitN(string(body), "\x00", 3)
			if manner.Bound != nil && len(f) > 1 {
				manner.Bound(f[0], f[1])
			}
			if manner.Refuse == 0 {
				s.change(func() {
					c.bind, s.binds = command, append(s.binds, command)
					s.conns[c] = len(s.binds)
				})
			}
			_ = c.send(command|0x80000000, manner.Refuse, seq, append([]byte("smsc"), 0))
		case 4:
			if c.bind != 2 && c.bind != 9 {
				s.violation("submit_sm on a link that is not bound to transmit")
			}
			if !manner.Silent && !s.submit(c, manner, seq, body) {
				return
			}
		case 6:
			_ = c.send(0x80000006, 0, seq, nil)
			return
		case 0x15:
			if !manner.Silent {
				_ = c.send(0x80000015, 0, seq, nil)
			}
		case 0x80000005, 0x80000103:
			s.change(func() { s.acks = append(s.acks, status) })
		case 0x80000000, 0x80000015, 0x80000006:
		default:
			s.violation("command %#x", command)
			_ = c.send(0x80000000, 3, seq, nil)
		}
	}
}

func (s *SMSC) violation(format string, args ...any) {
	s.change(func() { s.bad = append(s.bad, fmt.Sprintf(format, args...)) })
}

// submit takes a submit_sm, and reports whether the connection stays.
func (s *SMSC) submit(c *smscConn, manner SMSCManner, seq uint32, body []byte) bool {
	m, err := readSMS(body)
	if err != nil {
		s.violation("submit_sm: %v", err)
		_ = c.send(0x80000004, 1, seq, nil)
		return true
	}
	var nth int
	s.change(func() {
		s.seen++
		nth = s.seen
	})
	if manner.HangUp != nil && manner.HangUp(nth, m) {
		return false
	}
	if manner.Answer != nil {
		if code := manner.Answer(nth, m); code != 0 {
			_ = c.send(0x80000004, code, seq, nil)
			return true
		}
	}
	s.change(func() {
		m.ID, m.Time = fmt.Sprintf("%X", s.next), time.Now()
		s.next++
		s.taken = append(s.taken, m)
	})
	receipt := func() {
		if manner.Receipt != "" && m.Registered&3 == 1 {
			_ = s.report(c, m, manner.Receipt)
		}
	}
	if manner.Early {
		receipt()
	}
	_ = c.send(0x80000004, 0, seq, append([]byte(m.ID), 0))
	if !manner.Early {
		receipt()
	}
	return true
}

// readSMS takes a submit_sm apart.
func readSMS(b []byte) (m SMS, err error) {
	short := errors.New("too short")
	cstring := func() string {
		s, rest, ok := strings.Cut(string(b), "\x00")
		if !ok {
			err = short
		}
		b = []byte(rest)
		return s
	}
	octet := func() byte {
		if len(b) == 0 {
			err = short
			return 0
		}
		v := b[0]
		b = b[1:]
		return v
	}
	cstring() // service_type
	m.TON[0], m.NPI[0], m.From = octet(), octet(), cstring()
	m.TON[1], m.NPI[1], m.To = octet(), octet(), cstring()
	m.Class = octet()
	octet()
	octet()
	cstring()
	cstring()
	m.Registered = octet()
	octet()
	m.Coding = octet()
	octet()
	n := int(octet())
	if err != nil || n > len(b) {
		return m, short
	}
	m.Raw, b, m.TLVs = b[:n], b[n:], map[uint16][]byte{}
	for len(b) >= 4 {
		tag, n := binary.BigEndian.Uint16(b), int(binary.BigEndian.Uint16(b[2:]))
		if len(b) < 4+n {
			return m, short
		}
		m.TLVs[tag], b = b[4:4+n], b[4+n:]
	}
	if payload := m.TLVs[0x424]; payload != nil {
		if n > 0 {
			return m, errors.New("short_message and message_payload")
		}
		m.Raw = payload
	}
	m.read()
	return m, nil
}

// read finds the text and the place in a long message.
func (m *SMS) read() {
	data, basic := m.Raw, smscBasic
	m.Ref = -1
	if m.Class&0x40 != 0 && len(data) > 0 {
		header := data[1:min(len(data), 1+int(data[0]))]
		data = data[1+len(header):]
		for len(header) >= 2 {
			v := header[2:min(len(header), 2+int(header[1]))]
			switch {
			case header[0] == 0 && len(v) == 3:
				m.Ref, m.Parts, m.Part = int(v[0]), int(v[1]), int(v[2])
			case header[0] == 8 && len(v) == 4:
				m.Ref, m.Parts, m.Part = int(v[0])<<8|int(v[1]), int(v[2]), int(v[3])
			}
			header = header[2+len(v):]
		}
	}
	if ref := m.TLVs[0x20c]; len(ref) == 2 {
		m.Ref, m.Parts, m.Part = int(ref[0])<<8|int(ref[1]), int(m.TLVs[0x20e][0]), int(m.TLVs[0x20f][0])
	}
	if m.Coding == 8 {
		var units []uint16
		for i := 0; i+1 < len(data); i += 2 {
			units = append(units, binary.BigEndian.Uint16(data[i:]))
		}
		m.Text = string(utf16.Decode(units))
		return
	}
	var b strings.Builder
	for i := 0; i < len(data); i++ {
		if data[i] == 0x1b && i+1 < len(data) {
			i++
			b.WriteRune(smscExtended[data[i]])
		} else {
			b.WriteRune(basic[data[i]&0x7f])
		}
	}
	m.Text = b.String()
}

var smscBasic = []rune("@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞ\x1bÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà")

var smscExtended = map[byte]rune{0x14: '^', 0x28: '{', 0x29: '}', 0x2f: '\\', 0x3c: '[', 0x3d: '~', 0x3e: ']', 0x40: '|', 0x65: '€'}

// Messages lists the whole messages that were accepted, long ones joined, oldest first.
func (s *SMSC) Messages() (all []SMS) {
	taken := s.Taken()
	known := map[string]bool{}
	for _, m := range taken {
		if !known[m.To] {
			known[m.To] = true
			all = append(all, assemble(taken, m.To)...)
		}
	}
	slices.SortStableFunc(all, func(a, b SMS) int { return a.Time.Compare(b.Time) })
	return all
}
