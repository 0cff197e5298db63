package smpp_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"reflect"
	"strings"
	"testing"

	"latchkey/notify/smpp"
)

// bodies are one of each kind.
var bodies = []smpp.PDU{
	{Command: smpp.BindTransceiver, Sequence: 1, Body: &smpp.Bind{SystemID: "me", Password: "secret", SystemType: "x", Version: 0x34, TON: 1, NPI: 1, AddressRange: "^1"}},
	{Command: smpp.BindTransceiverResp, Sequence: 1, Body: &smpp.BindResp{SystemID: "smsc", TLVs: []smpp.TLV{{Tag: smpp.TagVersion, Value: []byte{0x50}}}}},
	{Command: smpp.Outbind, Sequence: 2, Body: &smpp.Bind{SystemID: "smsc", Password: "p"}},
	{Command: smpp.SubmitSM, Sequence: 3, Body: &smpp.SM{ServiceType: "CMT", From: smpp.Address{TON: 5, Digits: "Latchkey"}, To: smpp.Address{TON: 1, NPI: 1, Digits: "8613900000001"},
		Class: 0x40, Registered: 1, Validity: "000001000000000R", Coding: 8, Short: []byte("\x05\x00\x03\x01\x02\x01ab"), TLVs: []smpp.TLV{smpp.Number(smpp.TagUserMessageReference, 2, 7)}}},
	{Command: smpp.SubmitSMResp, Sequence: 3, Body: &smpp.ID{MessageID: "1A2B", TLVs: []smpp.TLV{{Tag: smpp.TagCongestionState, Value: []byte{95}}}}},
	{Command: smpp.SubmitSMResp, Status: smpp.Throttled, Sequence: 4},
	{Command: smpp.DeliverSM, Sequence: 5, Body: &smpp.SM{Class: 4, Short: []byte("id:1 stat:DELIVRD")}},
	{Command: smpp.DataSM, Sequence: 6, Body: &smpp.SM{From: smpp.Address{Digits: strings.Repeat("9", 64)}, Class: 4, TLVs: []smpp.TLV{{Tag: smpp.TagReceiptedMessageID, Value: []byte("1A\x00")}, {Tag: smpp.TagMessageState, Value: []byte{2}}}}},
	{Command: smpp.DataSMResp, Sequence: 6, Body: &smpp.ID{}},
	{Command: smpp.QuerySM, Sequence: 7, Body: &smpp.Query{MessageID: "1", From: smpp.Address{Digits: "1"}}},
	{Command: smpp.QuerySMResp, Sequence: 7, Body: &smpp.QueryResp{MessageID: "1", Final: "", State: smpp.Delivered, Error: 3}},
	{Command: smpp.CancelSM, Sequence: 8, Body: &smpp.Cancel{MessageID: "1", To: smpp.Address{Digits: "2"}}},
	{Command: smpp.AlertNotification, Sequence: 9, Body: &smpp.Alert{From: smpp.Address{Digits: "1"}, To: smpp.Address{Digits: "2"}}},
	{Command: smpp.EnquireLink, Sequence: 10}, {Command: smpp.Unbind, Sequence: 11}, {Command: smpp.GenericNack, Status: smpp.InvalidCommand, Sequence: 12},
}

// B3.15: each unit that is written is read as it was.
func TestUnitsComeBackAsTheyWere(t *testing.T) {
	for _, p := range bodies {
		b, err := p.Append([]byte("before"))
		if err != nil {
			t.Errorf("%v: %v", p.Command, err)
			continue
		}
		got, err := smpp.Read(bytes.NewReader(b[6:]))
		if err != nil || !reflect.DeepEqual(withoutEmpty(got), withoutEmpty(p)) {
			t.Errorf("%v = %+v, %v, want %+v", p.Command, got.Body, err, p.Body)
		}
	}
}

// withoutEmpty makes empty and nil the same.
func withoutEmpty(p smpp.PDU) smpp.PDU {
	if m, ok := p.Body.(*smpp.SM); ok {
		c := *m
		if len(c.Short) == 0 {
			c.Short = nil
		}
		p.Body = &c
	}
	return p
}

// B3.15: the octets of a submit_sm, field by field (SMPP 3.4 §4.4.1).
func TestSubmitHasItsOctets(t *testing.T) {
	b, err := smpp.PDU{Command: smpp.SubmitSM, Sequence: 2, Body: &smpp.SM{
		From: smpp.Address{TON: 5, Digits: "LK"}, To: smpp.Address{TON: 1, NPI: 1, Digits: "49"}, Registered: 1, Short: []byte("hi"), TLVs: []smpp.TLV{smpp.Number(smpp.TagUserMessageReference, 2, 258)},
	}}.Append(nil)
	want := "0000002d" + "00000004" + "00000000" + "00000002" + "00" + "05004c4b00" + "0101343900" + "00" + "0000" + "00" + "00" + "01" + "00" + "00" + "00" + "02" + "6869" + "020400020102"
	if got := hex.EncodeToString(b); err != nil || got != want {
		t.Errorf("submit_sm = %s, %v, want %s", got, err, want)
	}
}

func TestFieldsThatDontFitAreRefused(t *testing.T) {
	for _, body := range []*smpp.SM{
		{To: smpp.Address{Digits: strings.Repeat("1", 21)}}, {ServiceType: "sixsix"}, {Short: make([]byte, 255)}, {TLVs: []smpp.TLV{{Value: make([]byte, 70_000)}}}, {ServiceType: "a\x00b"},
	} {
		if _, err := (smpp.PDU{Command: smpp.SubmitSM, Body: body}).Append(nil); err == nil {
			t.Errorf("%.60v is written", body)
		}
	}
}

// A unit whose body can't be read doesn't spoil the next one; one whose length can't be believed ends it all.
func TestMalformedUnitsAreToldFromBrokenStreams(t *testing.T) {
	bad := unhex("00000011" + "00000004" + "00000000" + "00000001" + "41")
	good := unhex("00000010" + "00000015" + "00000000" + "00000002")
	r := bytes.NewReader(append(bad, good...))
	p, err := smpp.Read(r)
	if _, ok := errors.AsType[*smpp.Malformed](err); !ok || p.Command != smpp.SubmitSM || p.Sequence != 1 {
		t.Fatalf("Read(malformed) = %+v, %v", p, err)
	}
	if p, err = smpp.Read(r); err != nil || p.Command != smpp.EnquireLink {
		t.Errorf("Read(next) = %+v, %v", p, err)
	}
	for _, size := range []string{"0000000f", "7fffffff", "00000000"} {
		_, err := smpp.Read(bytes.NewReader(append(unhex(size), good[4:]...)))
		if _, ok := errors.AsType[*smpp.Malformed](err); err == nil || ok {
			t.Errorf("length %s: %v, want an error that ends the stream", size, err)
		}
	}
}

// FuzzRead: no panic, bounded memory; what can be read can be written and is the same again.
func FuzzRead(f *testing.F) {
	for _, p := range bodies {
		b, err := p.Append(nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := smpp.Read(bytes.NewReader(b))
		if err != nil {
			return
		}
		if m, ok := p.Body.(*smpp.SM); ok {
			m.Decode()
			m.Receipt()
		}
		again, err := p.Append(nil)
		if err != nil {
			t.Fatalf("%+v can't be written: %v", p.Body, err)
		}
		q, err := smpp.Read(bytes.NewReader(again))
		if err != nil || !reflect.DeepEqual(withoutEmpty(p), withoutEmpty(q)) {
			t.Fatalf("%+v comes back as %+v, %v", p.Body, q.Body, err)
		}
	})
}
