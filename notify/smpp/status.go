package smpp

import "fmt"

// Status is a command_status (SMPP 3.4 §5.1.3).
type Status uint32

// The codes that somebody here decides by.
const (
	OK                 Status = 0x00
	InvalidLength      Status = 0x01 // ESME_RINVMSGLEN
	InvalidCommandLen  Status = 0x02
	InvalidCommand     Status = 0x03
	WrongBindState     Status = 0x04
	AlreadyBound       Status = 0x05
	SystemError        Status = 0x08
	InvalidSource      Status = 0x0a
	InvalidDestination Status = 0x0b
	BindFailed         Status = 0x0d
	InvalidPassword    Status = 0x0e
	InvalidSystemID    Status = 0x0f
	QueueFull          Status = 0x14 // ESME_RMSGQFUL
	SubmitFailed       Status = 0x45
	Throttled          Status = 0x58 // ESME_RTHROTTLED
	TemporaryAppError  Status = 0x64 // ESME_RX_T_APPN
	UnknownError       Status = 0xff
)

var statusNames = map[Status]string{
	0x00: "ESME_ROK", 0x01: "ESME_RINVMSGLEN", 0x02: "ESME_RINVCMDLEN", 0x03: "ESME_RINVCMDID", 0x04: "ESME_RINVBNDSTS", 0x05: "ESME_RALYBND",
	0x06: "ESME_RINVPRTFLG", 0x07: "ESME_RINVREGDLVFLG", 0x08: "ESME_RSYSERR", 0x0a: "ESME_RINVSRCADR", 0x0b: "ESME_RINVDSTADR", 0x0c: "ESME_RINVMSGID",
	0x0d: "ESME_RBINDFAIL", 0x0e: "ESME_RINVPASWD", 0x0f: "ESME_RINVSYSID", 0x11: "ESME_RCANCELFAIL", 0x13: "ESME_RREPLACEFAIL", 0x14: "ESME_RMSGQFUL",
	0x15: "ESME_RINVSERTYP", 0x33: "ESME_RINVNUMDESTS", 0x34: "ESME_RINVDLNAME", 0x40: "ESME_RINVDESTFLAG", 0x42: "ESME_RINVSUBREP",
	0x43: "ESME_RINVESMCLASS", 0x44: "ESME_RCNTSUBDL", 0x45: "ESME_RSUBMITFAIL", 0x48: "ESME_RINVSRCTON", 0x49: "ESME_RINVSRCNPI",
	0x50: "ESME_RINVDSTTON", 0x51: "ESME_RINVDSTNPI", 0x53: "ESME_RINVSYSTYP", 0x54: "ESME_RINVREPFLAG", 0x55: "ESME_RINVNUMMSGS",
	0x58: "ESME_RTHROTTLED", 0x61: "ESME_RINVSCHED", 0x62: "ESME_RINVEXPIRY", 0x63: "ESME_RINVDFTMSGID", 0x64: "ESME_RX_T_APPN",
	0x65: "ESME_RX_P_APPN", 0x66: "ESME_RX_R_APPN", 0x67: "ESME_RQUERYFAIL", 0xc0: "ESME_RINVOPTPARSTREAM", 0xc1: "ESME_ROPTPARNOTALLWD",
	0xc2: "ESME_RINVPARLEN", 0xc3: "ESME_RMISSINGOPTPARAM", 0xc4: "ESME_RINVOPTPARAMVAL", 0xfe: "ESME_RDELIVERYFAILURE", 0xff: "ESME_RUNKNOWNERR",
	// SMPP 5.0 §4.7.6 (unverified).
	0x100: "ESME_RSERTYPUNAUTH", 0x101: "ESME_RPROHIBITED", 0x102: "ESME_RSERTYPUNAVAIL", 0x103: "ESME_RSERTYPDENIED", 0x104: "ESME_RINVDCS",
	0x105: "ESME_RINVSRCADDRSUBUNIT", 0x106: "ESME_RINVDSTADDRSUBUNIT",
}

// String is the name that the specification uses.
func (s Status) String() string {
	if name, ok := statusNames[s]; ok {
		return name
	}
	return fmt.Sprintf("command_status %#08x", uint32(s))
}

// Busy reports whether the centre asks to slow down.
func (s Status) Busy() bool { return s == Throttled || s == QueueFull }

// Permanent reports whether the same message to the same number would be refused again. What an operator can
// mend (sender, password, service type) is not permanent.
func (s Status) Permanent() bool {
	switch s {
	case InvalidLength, InvalidDestination, 0x50, 0x51, 0x65, 0x66, 0xfe, 0x101, 0x104, 0x106:
		return true
	}
	return false
}

// Refusal is a centre's no to a command.
type Refusal struct {
	Command Command
	Status  Status
}

// Error names the command and the code.
func (r *Refusal) Error() string { return fmt.Sprintf("%v: %v", r.Command, r.Status) }
