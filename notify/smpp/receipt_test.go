package smpp_test

import (
	"slices"
	"testing"

	"latchkey/notify/smpp"
)

// F02, B3.15: receipts as centres write them: in any order and case, cut, with the message's own words at the end, or as parameters.
func TestReceiptsAreRead(t *testing.T) {
	state := func(s smpp.State) []smpp.TLV {
		return []smpp.TLV{{Tag: smpp.TagReceiptedMessageID, Value: []byte("77\x00")}, {Tag: smpp.TagMessageState, Value: []byte{byte(s)}}, {Tag: smpp.TagNetworkErrorCode, Value: []byte{3, 1, 2}}}
	}
	for _, c := range []struct {
		name string
		m    smpp.SM
		want smpp.Receipt
	}{
		{"appendix B", smpp.SM{Class: 4, Short: []byte("id:1234567890 sub:001 dlvrd:001 submit date:2611251200 done date:2611251201 stat:DELIVRD err:000 text:Hello")}, smpp.Receipt{ID: "1234567890", State: smpp.Delivered, Error: "000"}},
		{"disorder", smpp.SM{Class: 4, Short: []byte("STAT:UNDELIV Err:034  dlvrd:000 sub:001 ID:ab-12 done date:2611251201")}, smpp.Receipt{ID: "ab-12", State: smpp.Undeliverable, Error: "034"}},
		{"whole words", smpp.SM{Class: 4, Short: []byte("id:9 stat:DELIVERED")}, smpp.Receipt{ID: "9", State: smpp.Delivered}},
		{"cut", smpp.SM{Class: 4, Short: []byte("id:9 stat:REJECT")}, smpp.Receipt{ID: "9", State: smpp.Rejected}},
		{"a text that pretends", smpp.SM{Class: 4, Short: []byte("id:9 stat:EXPIRED err:1 text:id:8 stat:DELIVRD")}, smpp.Receipt{ID: "9", State: smpp.Expired, Error: "1"}},
		{"a text first", smpp.SM{Class: 4, Short: []byte("text:hi id:9 stat:EXPIRED")}, smpp.Receipt{ID: "9", State: smpp.Expired}},
		{"no state", smpp.SM{Class: 4, Short: []byte("id:9 stat: err:")}, smpp.Receipt{ID: "9", State: smpp.Unknown}},
		{"parameters alone", smpp.SM{Class: 4, TLVs: state(smpp.Delivered)}, smpp.Receipt{ID: "77", State: smpp.Delivered, Error: "3/258"}},
		{"parameters win", smpp.SM{Class: 4, Short: []byte("id:9 stat:EXPIRED"), TLVs: state(smpp.Rejected)}, smpp.Receipt{ID: "77", State: smpp.Rejected, Error: "3/258"}},
		{"esm_class forgotten", smpp.SM{TLVs: state(smpp.Deleted)}, smpp.Receipt{ID: "77", State: smpp.Deleted, Error: "3/258"}},
		{"intermediate", smpp.SM{Class: 0x20, Short: []byte("id:9 stat:ENROUTE")}, smpp.Receipt{ID: "9", State: smpp.EnRoute}},
		{"in message_payload", smpp.SM{Class: 4, TLVs: []smpp.TLV{{Tag: smpp.TagMessagePayload, Value: []byte("id:9 stat:DELIVRD")}}}, smpp.Receipt{ID: "9", State: smpp.Delivered}},
	} {
		if got, ok := c.m.Receipt(); !ok || got != c.want {
			t.Errorf("%s: %+v, %v, want %+v", c.name, got, ok, c.want)
		}
	}
	for _, m := range []smpp.SM{{Short: []byte("id:9 stat:DELIVRD")}, {Class: 4, Short: []byte("hello")}, {Class: 4}} {
		if got, ok := m.Receipt(); ok {
			t.Errorf("%+v is taken for the receipt %+v", m, got)
		}
	}
}

// Centres answer in one base and report in the other.
func TestIDsAreTheSameInBothBases(t *testing.T) {
	for _, pair := range [][2]string{{"1000A", "0000065546"}, {"1000A", "65546"}, {"65546", "1000A"}, {"0001000a", "65546"}, {"ABC", "abc"}, {"007", "7"}, {"x-1", "x-1"}} {
		if !common(smpp.SameID(pair[0]), smpp.SameID(pair[1])) {
			t.Errorf("%s and %s are not the same: %q, %q", pair[0], pair[1], smpp.SameID(pair[0]), smpp.SameID(pair[1]))
		}
		if smpp.SameID(pair[0])[0] != pair[0] {
			t.Errorf("%s: the id itself is not the first", pair[0])
		}
	}
	for _, pair := range [][2]string{{"1000A", "1000B"}, {"x-1", "x-2"}, {"zz", "ff"}} {
		if common(smpp.SameID(pair[0]), smpp.SameID(pair[1])) {
			t.Errorf("%s and %s are the same", pair[0], pair[1])
		}
	}
}

func common(a, b []string) bool {
	return slices.ContainsFunc(a, func(s string) bool { return slices.Contains(b, s) })
}

// FuzzReceipt: no panic; an id has no spaces.
func FuzzReceipt(f *testing.F) {
	f.Add([]byte("id:1 sub:001 dlvrd:001 submit date:2611251200 done date:2611251201 stat:DELIVRD err:000 text:Hello"), "1", byte(4))
	f.Add([]byte("text: stat:DELIVERED, id:\t9"), "", byte(0x20))
	f.Add([]byte("\x05\x00\x03\x01\x02\x01id:\u0130 stat:x"), "0000ffff", byte(0x44))
	f.Fuzz(func(t *testing.T, text []byte, id string, class byte) {
		m := smpp.SM{Class: class, Short: text}
		if id != "" {
			m.TLVs = []smpp.TLV{{Tag: smpp.TagReceiptedMessageID, Value: []byte(id)}}
		}
		r, ok := m.Receipt()
		if ok && r.ID == "" {
			t.Errorf("a receipt without an id: %+v", r)
		}
		if all := smpp.SameID(r.ID); len(all) == 0 || all[0] != r.ID {
			t.Errorf("SameID(%q) = %q", r.ID, all)
		}
	})
}
