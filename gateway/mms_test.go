package gateway_test

import (
	"encoding/base64"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"

	"latchkey/gateway/gatewaytest"
	"latchkey/imstest"
)

// mmsc is a multimedia message centre with wire code of its own.
type mmsc struct {
	*httptest.Server
	mu    sync.Mutex
	codes []int    // status codes of the next answers; then 1000
	ids   []string // TransactionIDs that came
	to    string
	auth  string
	parts map[string]string // content by media type, of the latest one
}

var (
	transaction = regexp.MustCompile(`TransactionID[^>]*>([^<]*)<`)
	recipient   = regexp.MustCompile(`<To><Number>([^<]*)<`)
)

const mm7Space = "http://www.3gpp.org/ftp/Specs/archive/23_series/23.140/schema/REL-6-MM7-1-4"

func newMMSC(t *testing.T, codes ...int) *mmsc {
	t.Helper()
	m := &mmsc{codes: codes}
	m.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.mu.Lock()
		defer m.mu.Unlock()
		_, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
		if err != nil {
			t.Error(err)
		}
		m.auth, m.parts = r.Header.Get("Authorization"), map[string]string{}
		outer := multipart.NewReader(r.Body, params["boundary"])
		first, err := outer.NextPart()
		if err != nil {
			t.Error(err)
			return
		}
		xml, _ := io.ReadAll(first)
		id := transaction.FindStringSubmatch(string(xml))[1]
		m.ids, m.to = append(m.ids, id), recipient.FindStringSubmatch(string(xml))[1]
		if second, err := outer.NextPart(); err == nil {
			_, params, _ = mime.ParseMediaType(second.Header.Get("Content-Type"))
			for inner := multipart.NewReader(second, params["boundary"]); ; {
				p, err := inner.NextPart()
				if err != nil {
					break
				}
				content, _ := io.ReadAll(base64.NewDecoder(base64.StdEncoding, p))
				kind, _, _ := mime.ParseMediaType(p.Header.Get("Content-Type"))
				m.parts[kind] = string(content)
			}
		}
		code := 1000
		if len(m.codes) > 0 {
			code, m.codes = m.codes[0], m.codes[1:]
		}
		w.Header().Set("Content-Type", "text/xml")
		fmt.Fprintf(w, `<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/"><e:Header><TransactionID xmlns="%s">%s</TransactionID></e:Header><e:Body><SubmitRsp xmlns="%[1]s"><MM7Version>6.8.0</MM7Version><Status><StatusCode>%[3]d</StatusCode><StatusText>x</StatusText></Status><MessageID>mms-%[4]d</MessageID></SubmitRsp></e:Body></e:Envelope>`,
			mm7Space, id, code, len(m.ids))
	}))
	t.Cleanup(m.Close)
	return m
}

func (m *mmsc) option() string { return mmsOption(m.Listener.Addr().String()) }

func mmsOption(addr string) string {
	return "--mms=mm7+http://latchkey:secret@" + addr + "/mm7?vasp=latchkey&vas=invitations"
}

func (m *mmsc) requests() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.ids)
}

const byMMS = `{"tel":"+8613900000001","channel":"mms","note":"Hi! Look: http://evil.example"}`

// F03, R8, B3.15: an MMS with text, picture and link goes out under the operator's flag; the centre's report, taken at /mm7 of the
// operators' listener, moves the invitation to delivered.
func TestNumberGetsAnMMS(t *testing.T) {
	t.Parallel()
	s, option := centre(t, "")
	m := newMMSC(t)
	w := gatewaytest.New(t, gatewaytest.Plan{Args: []string{option, m.option()}})
	w.Do("POST", "/rcsgw/invitee/user", gatewaytest.Alice, gatewaytest.Password, byMMS).Wants(http.StatusCreated)
	notified(t, w, gatewaytest.Alice, "sent")
	m.mu.Lock()
	text, picture, to, auth := m.parts["text/plain"], m.parts["image/png"], m.to, m.auth
	m.mu.Unlock()
	links := regexp.MustCompile(`https?://\S+`).FindAllString(text, -1)
	if !strings.HasPrefix(text, "Alice invites you to chat:\nHi!") || len(links) != 1 || !strings.HasPrefix(picture, "\x89PNG\r\n") || to != telephone || auth == "" {
		t.Errorf("MMS to %s with %q, picture of %d octets", to, text, len(picture))
	}
	w.LinkedBy(links).Login().Wants(http.StatusOK)
	if len(s.Taken()) != 0 {
		t.Error("an SMS went out, too")
	}
	res, err := http.Post("http://"+w.Admin()+"/mm7", "text/xml", strings.NewReader(`<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/"><e:Header><TransactionID xmlns="`+mm7Space+`">dr1</TransactionID></e:Header><e:Body><DeliveryReportReq xmlns="`+mm7Space+
		`"><MM7Version>6.8.0</MM7Version><MessageID>mms-1</MessageID><Recipient><Number>+8613900000001</Number></Recipient><MMStatus>Retrieved</MMStatus></DeliveryReportReq></e:Body></e:Envelope>`))
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(res.Body)
	_ = res.Body.Close()
	if res.StatusCode != 200 || !strings.Contains(string(body), "<StatusCode>1000</StatusCode>") {
		t.Errorf("report answered with %d %s", res.StatusCode, body)
	}
	notified(t, w, gatewaytest.Alice, "delivered")
	// It is not for the public.
	if a := w.Do("POST", "/mm7", "", "", "x"); a.Status != 404 {
		t.Errorf("/mm7 of the guests' listener answers %d", a.Status)
	}
}

// F03, F19: a centre that can't now gets the same transaction again; one that never will makes the invitation fail. A number
// goes by MMS where there is nothing else.
func TestMMSIsTriedAgainOrFails(t *testing.T) {
	t.Parallel()
	t.Run("3001", func(t *testing.T) {
		t.Parallel()
		m := newMMSC(t, 3001)
		w := gatewaytest.New(t, gatewaytest.Plan{Args: []string{m.option()}})
		w.Do("POST", "/rcsgw/invitee/user", gatewaytest.Alice, gatewaytest.Password, byNumber).Wants(http.StatusCreated)
		notified(t, w, gatewaytest.Alice, "sent")
		m.mu.Lock()
		defer m.mu.Unlock()
		if len(m.ids) != 2 || m.ids[0] != m.ids[1] || m.ids[0] == "" {
			t.Errorf("transactions %q, want the same twice", m.ids)
		}
	})
	t.Run("2003", func(t *testing.T) {
		t.Parallel()
		m := newMMSC(t, 2003)
		w := gatewaytest.New(t, gatewaytest.Plan{Args: []string{m.option()}})
		w.Do("POST", "/rcsgw/invitee/user", gatewaytest.Alice, gatewaytest.Password, byMMS).Wants(http.StatusCreated)
		if reason := notified(t, w, gatewaytest.Alice, "failed"); reason != "the MMS centre does not know that number" || m.requests() != 1 {
			t.Errorf("reason %q after %d requests", reason, m.requests())
		}
	})
	t.Run("away", func(t *testing.T) {
		t.Parallel()
		w := gatewaytest.New(t, gatewaytest.Plan{Args: []string{mmsOption(gatewaytest.FreePort(t))}})
		w.Do("POST", "/rcsgw/invitee/user", gatewaytest.Alice, gatewaytest.Password, byMMS).Wants(http.StatusCreated)
		imstest.Eventually(t, gatewaytest.Patience, func() bool {
			return notified(t, w, gatewaytest.Alice, "queued") == "the MMS centre can't be reached"
		})
	})
}

// R8: where no channel is set up for numbers, inviting one is refused and says so.
func TestNumberWithoutAChannelIsRefused(t *testing.T) {
	t.Parallel()
	w := gatewaytest.New(t, gatewaytest.Plan{})
	for _, body := range []string{byNumber, byMMS} {
		if a := w.Do("POST", "/rcsgw/invitee/user", gatewaytest.Alice, gatewaytest.Password, body).Wants(400); !strings.Contains(string(a.Body), "not set up") {
			t.Errorf("answer %s", a.Body)
		}
	}
	w.Nothing("no channel")
}
