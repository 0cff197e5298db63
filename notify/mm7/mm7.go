// Package mm7 speaks MM7 to a multimedia message centre (an MMS relay/server): 3GPP TS 23.140 §8.7, SOAP with attachments, schema
// REL-6-MM7-1-4. It owns SubmitReq and its answer, and the reports that the centre sends back. It keeps nothing, decides
// nothing about who gets a message, and knows nothing of Latchkey: others can import it. It imports the standard
// library alone. Clauses of TS 23.140 (unverified) are from memory. Start with Client.Submit and Handler.
package mm7

import (
	"fmt"
	"net/http"
	"strings"
	"time"
)

const (
	soapSpace = "http://schemas.xmlsoap.org/soap/envelope/"
	// Space is the namespace of what is sent here. The centre may answer in an older or newer one of the same family.
	Space       = "http://www.3gpp.org/ftp/Specs/archive/23_series/23.140/schema/REL-6-MM7-1-4"
	spaceFamily = "http://www.3gpp.org/ftp/Specs/archive/23_series/23.140/schema/REL-"
	version     = "6.8.0"
	// maxXML is how much of an envelope is read.
	maxXML = 256 << 10
)

// Client submits messages to one centre.
type Client struct {
	URL            string // http:// or https://
	User, Password string // Basic, or ""
	VASP, VAS      string // how the centre knows us (TS 23.140 §8.7.1)
	From           string // sender: a number or short code, or "" for the centre's choice
	HTTP           *http.Client
}

// Message is a multimedia message.
type Message struct {
	// TransactionID is the same when the same message is sent again, and in the answer.
	TransactionID string
	To            string // +digits
	Subject       string
	Text          string
	Picture       []byte // PNG, or nil
	Expires       time.Time
}

// Code is a StatusCode (TS 23.140 §8.7.7.1).
type Code int

// The codes that somebody here decides by.
const (
	Success            Code = 1000
	PartialSuccess     Code = 1100
	ClientError        Code = 2000
	AddressError       Code = 2002
	AddressNotFound    Code = 2003
	ContentRefused     Code = 2004
	FormatCorrupt      Code = 2007
	ServerError        Code = 3000
	MessageRejected    Code = 3002
	UnsupportedVersion Code = 4002
	Unsupported        Code = 4003
	ValidationError    Code = 4004
	ServiceUnavailable Code = 4006
)

// Permanent reports whether the same message to the same number would be refused again. What an operator can mend
// (identification, service) is not permanent.
func (c Code) Permanent() bool {
	switch c {
	case AddressError, AddressNotFound, ContentRefused, FormatCorrupt, MessageRejected:
		return true
	}
	return false
}

// Refusal is the centre's no.
type Refusal struct {
	Code Code
	Text string
}

// Error has the code and the centre's own words.
func (r *Refusal) Error() string {
	return strings.TrimSpace(fmt.Sprintf("status %d %s", r.Code, r.Text))
}

// Report is what a centre says about a message: DeliveryReportReq (TS 23.140 §8.7.4).
type Report struct {
	MessageID string
	Recipient string // number without its type
	Status    string // MMStatus: Retrieved, Expired, Rejected, Indeterminate, Forwarded…
	Text      string
}

// Delivered reports whether the message is on the handset, and Failed whether it never will be.
func (r Report) Delivered() bool { return r.Status == "Retrieved" }

// Failed is the contrary of Delivered; neither is true of what may still come.
func (r Report) Failed() bool {
	switch r.Status {
	case "Expired", "Rejected", "Unrecognised", "Unrecognized":
		return true
	}
	return false
}
