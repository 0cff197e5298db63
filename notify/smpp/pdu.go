package smpp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// PDU is one unit on the wire. Body is nil where the command has none, or where the status says that it may
// be missing (SMPP 3.4 §4.4.2).
type PDU struct {
	Command  Command
	Status   Status
	Sequence uint32
	Body     Body
}

// Body is what follows the header: *Bind, *BindResp, *SM, *ID, *Query, *QueryResp, *Cancel or *Alert.
type Body interface {
	write(w *writer, c Command)
	read(r *reader, c Command)
}

// Bind is the body of bind_receiver, bind_transmitter and bind_transceiver (SMPP 3.4 §4.1), and, with the first two
// fields, of outbind.
type Bind struct {
	SystemID, Password, SystemType string
	Version                        byte // 0x34, or 0x50 for 5.0
	TON, NPI                       byte
	AddressRange                   string
}

// BindResp answers a Bind.
type BindResp struct {
	SystemID string
	TLVs     []TLV
}

// SM is the body of submit_sm, deliver_sm and data_sm (SMPP 3.4 §4.4.1, §4.6.1, §4.7.1). data_sm has no fields from Protocol
// to Validity, nor Replace, DefaultID and Short.
type SM struct {
	ServiceType        string
	From, To           Address
	Class              byte // esm_class
	Protocol, Priority byte
	Schedule, Validity string
	Registered         byte // registered_delivery
	Replace            byte
	Coding             byte // data_coding
	DefaultID          byte
	Short              []byte
	TLVs               []TLV
}

// ID is the body of the responses that name a message.
type ID struct {
	MessageID string
	TLVs      []TLV
}

// Query asks for a message's state (SMPP 3.4 §4.8.1).
type Query struct {
	MessageID string
	From      Address
}

// QueryResp tells it.
type QueryResp struct {
	MessageID string
	Final     string // date
	State     State
	Error     byte
}

// Cancel takes a message back (SMPP 3.4 §4.9.1).
type Cancel struct {
	ServiceType, MessageID string
	From, To               Address
}

// Alert says that a number can be reached again (SMPP 3.4 §4.12.1).
type Alert struct {
	From, To Address
	TLVs     []TLV
}

// newBody is an empty body for a command, or nil where it has none.
func newBody(c Command) Body {
	switch c {
	case BindReceiver, BindTransmitter, BindTransceiver, Outbind:
		return new(Bind)
	case BindReceiverResp, BindTransmitterResp, BindTransceiverResp:
		return new(BindResp)
	case SubmitSM, DeliverSM, DataSM:
		return new(SM)
	case SubmitSMResp, DeliverSMResp, DataSMResp:
		return new(ID)
	case QuerySM:
		return new(Query)
	case QuerySMResp:
		return new(QueryResp)
	case CancelSM:
		return new(Cancel)
	case AlertNotification:
		return new(Alert)
	}
	return nil
}

// Malformed is a unit whose body can't be read. Its header could, and is in the PDU that came with the error.
type Malformed struct{ Why string }

// Error says what is wrong.
func (m *Malformed) Error() string { return "malformed: " + m.Why }

// Read reads one unit. Whatever comes, it takes no more than maxPDU octets of memory. After a *Malformed
// the next unit can be read; after any other error nothing can.
func Read(r io.Reader) (PDU, error) {
	var header [headerSize]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return PDU{}, err
	}
	size := binary.BigEndian.Uint32(header[:])
	if size < headerSize || size > maxPDU {
		return PDU{}, fmt.Errorf("command_length %d is not between %d and %d", size, headerSize, maxPDU)
	}
	p := PDU{
		Command: Command(binary.BigEndian.Uint32(header[4:])), Status: Status(binary.BigEndian.Uint32(header[8:])), Sequence: binary.BigEndian.Uint32(header[12:]),
	}
	body := make([]byte, size-headerSize)
	if _, err := io.ReadFull(r, body); err != nil {
		return PDU{}, fmt.Errorf("body of %v: %w", p.Command, err)
	}
	b := newBody(p.Command)
	if b == nil || len(body) == 0 && p.Command.Response() && (p.Status != OK || p.Command == DeliverSMResp || p.Command == DataSMResp) {
		return p, nil // what follows a command without a body is of no use
	}
	in := reader{rest: body}
	if b.read(&in, p.Command); in.why != "" {
		return p, &Malformed{fmt.Sprintf("%v: %s", p.Command, in.why)}
	}
	p.Body = b
	return p, nil
}

// Append writes the unit behind b.
func (p PDU) Append(b []byte) ([]byte, error) {
	start := len(b)
	w := writer{b: append(b, make([]byte, headerSize)...)}
	if p.Body != nil {
		p.Body.write(&w, p.Command)
	}
	if w.err != nil {
		return b, fmt.Errorf("%v: %w", p.Command, w.err)
	}
	out := w.b[start:]
	if len(out) > maxPDU {
		return b, fmt.Errorf("%v: is longer than %d octets", p.Command, maxPDU)
	}
	binary.BigEndian.PutUint32(out, uint32(len(out)))
	binary.BigEndian.PutUint32(out[4:], uint32(p.Command))
	binary.BigEndian.PutUint32(out[8:], uint32(p.Status))
	binary.BigEndian.PutUint32(out[12:], p.Sequence)
	return w.b, nil
}

func (m *Bind) write(w *writer, c Command) {
	w.text(m.SystemID, 16)
	w.text(m.Password, 9)
	if c == Outbind {
		return
	}
	w.text(m.SystemType, 13)
	w.octets(m.Version, m.TON, m.NPI)
	w.text(m.AddressRange, 41)
}

func (m *Bind) read(r *reader, c Command) {
	m.SystemID, m.Password = r.text(16), r.text(9)
	if c == Outbind {
		return
	}
	m.SystemType = r.text(13)
	m.Version, m.TON, m.NPI = r.octet(), r.octet(), r.octet()
	m.AddressRange = r.text(41)
}

func (m *BindResp) write(w *writer, _ Command) { w.text(m.SystemID, 16); w.tlvs(m.TLVs) }
func (m *BindResp) read(r *reader, _ Command)  { m.SystemID, m.TLVs = r.text(16), r.tlvs() }

// idSize is the room for a message_id with its NUL.
const idSize = 65

func (m *ID) write(w *writer, _ Command) { w.text(m.MessageID, idSize); w.tlvs(m.TLVs) }
func (m *ID) read(r *reader, _ Command)  { m.MessageID, m.TLVs = r.text(idSize), r.tlvs() }

func (m *SM) write(w *writer, c Command) {
	size := 21
	if c == DataSM {
		size = 65 // SMPP 3.4 §4.7.1
	}
	w.text(m.ServiceType, 6)
	w.address(m.From, size)
	w.address(m.To, size)
	w.octets(m.Class)
	if c == DataSM {
		w.octets(m.Registered, m.Coding)
		w.tlvs(m.TLVs)
		return
	}
	w.octets(m.Protocol, m.Priority)
	w.text(m.Schedule, 17)
	w.text(m.Validity, 17)
	if len(m.Short) > maxShort {
		w.fail("short_message of %d octets; %d is the most", len(m.Short), maxShort)
	}
	w.octets(m.Registered, m.Replace, m.Coding, m.DefaultID, byte(len(m.Short)))
	w.b = append(w.b, m.Short...)
	w.tlvs(m.TLVs)
}

func (m *SM) read(r *reader, c Command) {
	size := 21
	if c == DataSM {
		size = 65
	}
	m.ServiceType, m.From, m.To, m.Class = r.text(6), r.address(size), r.address(size), r.octet()
	if c == DataSM {
		m.Registered, m.Coding = r.octet(), r.octet()
		m.TLVs = r.tlvs()
		return
	}
	m.Protocol, m.Priority = r.octet(), r.octet()
	m.Schedule, m.Validity = r.text(17), r.text(17)
	m.Registered, m.Replace, m.Coding, m.DefaultID = r.octet(), r.octet(), r.octet(), r.octet()
	m.Short = r.take(int(r.octet()))
	if len(m.Short) > maxShort {
		r.fail("sm_length is over %d", maxShort)
	}
	m.TLVs = r.tlvs()
}

// Text is the user data: message_payload or short_message.
func (m *SM) Text() []byte {
	if v, ok := Lookup(m.TLVs, TagMessagePayload); ok {
		return v
	}
	return m.Short
}

func (m *Query) write(w *writer, _ Command) { w.text(m.MessageID, idSize); w.address(m.From, 21) }
func (m *Query) read(r *reader, _ Command)  { m.MessageID, m.From = r.text(idSize), r.address(21) }

func (m *QueryResp) write(w *writer, _ Command) {
	w.text(m.MessageID, idSize)
	w.text(m.Final, 17)
	w.octets(byte(m.State), m.Error)
}

func (m *QueryResp) read(r *reader, _ Command) {
	m.MessageID, m.Final, m.State, m.Error = r.text(idSize), r.text(17), State(r.octet()), r.octet()
}

func (m *Cancel) write(w *writer, _ Command) {
	w.text(m.ServiceType, 6)
	w.text(m.MessageID, idSize)
	w.address(m.From, 21)
	w.address(m.To, 21)
}

func (m *Cancel) read(r *reader, _ Command) {
	m.ServiceType, m.MessageID, m.From, m.To = r.text(6), r.text(idSize), r.address(21), r.address(21)
}

func (m *Alert) write(w *writer, _ Command) {
	w.address(m.From, 65)
	w.address(m.To, 65)
	w.tlvs(m.TLVs)
}
func (m *Alert) read(r *reader, _ Command) {
	m.From, m.To, m.TLVs = r.address(65), r.address(65), r.tlvs()
}

// writer appends fields; the first that doesn't fit is its error.
type writer struct {
	b   []byte
	err error
}

func (w *writer) fail(format string, args ...any) {
	if w.err == nil {
		w.err = fmt.Errorf(format, args...)
	}
}

func (w *writer) octets(all ...byte) { w.b = append(w.b, all...) }

// text writes a C-octet string of at most size octets, its NUL included.
func (w *writer) text(s string, size int) {
	if len(s) >= size {
		w.fail("field of %d octets; %d is the most", len(s), size-1)
	}
	if bytes.IndexByte([]byte(s), 0) >= 0 {
		w.err = errors.New("NUL within a field")
	}
	w.b = append(append(w.b, s...), 0)
}

func (w *writer) address(a Address, size int) {
	w.octets(a.TON, a.NPI)
	w.text(a.Digits, size)
}

func (w *writer) tlvs(all []TLV) {
	for _, t := range all {
		if len(t.Value) > 0xffff {
			w.fail("parameter %#04x of %d octets", t.Tag, len(t.Value))
		}
		w.b = binary.BigEndian.AppendUint16(w.b, t.Tag)
		w.b = binary.BigEndian.AppendUint16(w.b, uint16(len(t.Value)))
		w.b = append(w.b, t.Value...)
	}
}

// reader takes fields off; why is what is wrong with the first that isn't there.
type reader struct {
	rest []byte
	why  string
}

func (r *reader) fail(format string, args ...any) {
	if r.why == "" {
		r.why = fmt.Sprintf(format, args...)
	}
	r.rest = nil
}

func (r *reader) take(n int) []byte {
	if n > len(r.rest) {
		r.fail("%d octets where %d are needed", len(r.rest), n)
		return nil
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reader) octet() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) text(size int) string {
	end := bytes.IndexByte(r.rest[:min(size, len(r.rest))], 0)
	if end < 0 {
		r.fail("a string without its end within %d octets", size)
		return ""
	}
	return string(r.take(end + 1)[:end])
}

func (r *reader) address(size int) Address { return Address{r.octet(), r.octet(), r.text(size)} }

func (r *reader) tlvs() (all []TLV) {
	for len(r.rest) > 0 && r.why == "" {
		head := r.take(4)
		if head == nil {
			return nil
		}
		value := r.take(int(binary.BigEndian.Uint16(head[2:])))
		all = append(all, TLV{binary.BigEndian.Uint16(head), value})
	}
	return all
}
