package mm7

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
)

// Handler takes the reports of a centre and hands them to take. A report is acknowledged when take returns without an error;
// else the centre is told to try again.
func Handler(take func(context.Context, Report) error, log *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			w.Header().Set("Allow", http.MethodPost)
			http.Error(w, "MM7 is POST", http.StatusMethodNotAllowed)
			return
		}
		text, err := readXML(r.Header.Get("Content-Type"), http.MaxBytesReader(w, r.Body, 4*maxXML))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		transaction, b, err := parse(text)
		if err != nil {
			fault(w, transaction, ValidationError, err.Error())
			return
		}
		switch b.XMLName.Local {
		case "DeliveryReportReq":
			report := reportOf(b)
			if report.MessageID == "" || report.Status == "" {
				fault(w, transaction, ValidationError, "MessageID or MMStatus is missing")
				return
			}
			if err := take(r.Context(), report); err != nil {
				log.Error("MMS report not taken", "error", err)
				respond(w, transaction, "DeliveryReportRsp", ServerError, "try again later")
				return
			}
			respond(w, transaction, "DeliveryReportRsp", Success, "Success")
		case "ReadReplyReq":
			respond(w, transaction, "ReadReplyRsp", Success, "Success")
		default:
			fault(w, transaction, Unsupported, b.XMLName.Local+" is not supported")
		}
	})
}

func reportOf(b body) Report {
	r := Report{MessageID: strings.TrimSpace(b.MessageID), Status: strings.TrimSpace(b.MMStatus), Text: strings.TrimSpace(b.Text)}
	if b.Recipient != nil {
		r.Recipient = strings.TrimSpace(b.Recipient.Number)
		// A number may have its type behind it, as in MM1: +49301234/TYPE=PLMN (TS 23.140 §8.7.1, unverified).
		r.Recipient, _, _ = strings.Cut(r.Recipient, "/TYPE=")
	}
	return r
}

func respond(w http.ResponseWriter, transaction, name string, c Code, text string) {
	write(w, http.StatusOK, wrap(transaction, fmt.Sprintf(`<%s xmlns="%s"><MM7Version>%s</MM7Version><Status><StatusCode>%d</StatusCode><StatusText>%s</StatusText></Status></%s>`,
		name, Space, version, c, escaped(text), name)))
}

// fault is VASPErrorRsp within a SOAP fault (TS 23.140 §8.7.6).
func fault(w http.ResponseWriter, transaction string, c Code, text string) {
	write(w, http.StatusInternalServerError, wrap(transaction, fmt.Sprintf(
		`<env:Fault><faultcode>env:Client</faultcode><faultstring>%s</faultstring><detail><VASPErrorRsp xmlns="%s"><MM7Version>%s</MM7Version><Status><StatusCode>%d</StatusCode><StatusText>%s</StatusText></Status></VASPErrorRsp></detail></env:Fault>`,
		escaped(text), Space, version, c, escaped(text))))
}

func write(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "text/xml; charset=utf-8")
	w.WriteHeader(code)
	_, _ = io.WriteString(w, text)
}
