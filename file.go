package latchkey

import "time"

// FileID names one file in the gateway. It is unguessable; the file is stored under it, and towards SIP it is
// the file-transfer-id (RFC 5547 §6) or the imdn.Message-ID under which the gateway offers it.
type FileID string

// NewFileID makes a fresh file name.
func NewFileID() FileID { return FileID(NewToken()) }

// FileState is how far a file has come. It only moves forward, except that Failed is final.
type FileState string

// States of a file. Receiving: its bytes are coming, from either side; nobody was told of it, unless an inviter's was cut off. Accepted: complete, found clean and on our
// disk. For files to the inviter then as for messages: Sent when the inviter's side has every byte (MSRP), or knows where
// to fetch them (HTTP); Delivered and Displayed by IMDN. For files to the guest: Delivered when
// the guest's client acknowledged the event, Displayed when it said so. Failed: the bytes are erased.
const (
	FileReceiving FileState = "receiving"
	FileAccepted  FileState = "accepted"
	FileSent      FileState = "sent"
	FileDelivered FileState = "delivered"
	FileDisplayed FileState = "displayed"
	FileFailed    FileState = "failed"
)

var fileRank = map[FileState]int{
	FileReceiving: 0, FileAccepted: 1, FileSent: 2, FileDelivered: 3, FileDisplayed: 4, FileFailed: 5,
}

// Precedes reports whether a file may move from s to next. What was delivered can't fail any more.
func (s FileState) Precedes(next FileState) bool {
	return s != FileFailed && fileRank[s] < fileRank[next] &&
		(next != FileFailed || s == FileReceiving || s == FileAccepted || s == FileSent)
}

// UnknownSize is the Size of a file whose sender didn't tell, until it is complete.
const UnknownSize = -1

// StoredFile is one file of a conversation, a row from its first byte. The bytes are in room files, under the ID.
type StoredFile struct {
	ID        FileID
	Relation  RelationID
	Account   AccountID
	Inviter   InviterID
	Direction Direction
	Name      string // as its sender calls it, made safe: no path, no control characters; never ""
	Size      int64  // in bytes, or UnknownSize
	Type      string // media type as its sender says, or application/octet-stream
	SHA1      string // hexadecimal; what the sender said, and of a complete file what it is; or ""
	State     FileState
	Reason    string // why it failed, in words for a person
	ClientID  string // the guest's own id, or ""
	Key       Secret // names the file in the public address where the inviter fetches it
	Preview   string // media type of the preview that is stored, or "" for none
	Time      time.Time
	Touched   time.Time // when bytes last came
	Expires   time.Time // the bytes are erased then

	// For files to the guest: A's name of it (imdn.Message-ID or file-transfer-id), which notifications A asked
	// for, and where it is to be fetched (RCS file transfer over HTTP) or "".
	RemoteID      string
	WantDelivered bool
	WantDisplayed bool
	Source        Secret
}

// Event is the file as events tell it.
func (f StoredFile) Event() *EventFile {
	return &EventFile{ID: f.ID, Name: f.Name, Size: max(f.Size, 0), Type: f.Type, Preview: f.Preview != ""}
}
