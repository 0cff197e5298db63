package sipua

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"
)

// tape is an outlet that notes what is written, and when.
type tape struct {
	stream bool
	begun  time.Time
	mu     sync.Mutex
	torn   bool // nothing can be written
	notes  []string
}

var errTorn = errors.New("torn")

func (w *tape) reliable() bool { return w.stream }

func (w *tape) write(text []byte) error {
	w.mu.Lock()
	torn := w.torn
	w.mu.Unlock()
	if torn {
		return errTorn
	}
	what, rest, _ := strings.Cut(string(text), " ")
	if what == "SIP/2.0" {
		what = rest[:3]
	}
	w.note(what)
	return nil
}

func (w *tape) tear(torn bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.torn = torn
}

func (w *tape) note(what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.notes = append(w.notes, fmt.Sprintf("%s@%d", what, time.Since(w.begun).Milliseconds()))
}

// run plays a script: at each time in ms, something is done. It ends a minute after that.
func (w *tape) run(script string, do func(what string)) string {
	for step := range strings.FieldsSeq(script) {
		what, _, _ := strings.Cut(step, "@")
		time.Sleep(time.Until(w.begun.Add(time.Duration(when(step)) * time.Millisecond)))
		synctest.Wait()
		do(what)
		synctest.Wait()
	}
	time.Sleep(time.Minute)
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	slices.SortStableFunc(w.notes, func(a, b string) int { return cmp.Or(cmp.Compare(when(a), when(b)), strings.Compare(a, b)) }) // at one time there is no order
	return strings.Join(w.notes, " ")
}

// when is the ms of a step or a note.
func when(note string) (ms int) {
	_, at, _ := strings.Cut(note, "@")
	_, _ = fmt.Sscan(at, &ms)
	return ms
}

// Repeats of a request that has no answer, with T1 of 100 ms and T2 of 400 ms, and what is seen of a transaction whose time is over.
const (
	invites = "INVITE@0 INVITE@100 INVITE@300 INVITE@700 INVITE@1500 INVITE@3100 INVITE@6300 INVITE@12700"
	asks    = "OPTIONS@0 OPTIONS@100 OPTIONS@300 OPTIONS@700"
)

// every is what is written each 400 ms from one time on, up to another.
func every(what string, from, to int) string {
	var all []string
	for ; from <= to; from += 400 {
		all = append(all, fmt.Sprintf("%s@%d", what, from))
	}
	return strings.Join(all, " ")
}

// B2.01, RFC 3261 §17.1, RFC 6026 §7.2: a client transaction, with T1 100 ms, T2 400 ms, T4 500 ms, and B and F 16 s. The script is what comes, and when;
// "lost" is its connection, "torn" is one that nothing can be written to. What is seen is what was written; "<" is what is told to who reads, "again" a
// repeated 2xx, and "end" the end with its reason.
func TestClientTransactionStates(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name         string
		method       sip.RequestMethod
		stream       bool
		script, want string
	}{
		{"A and B", sip.INVITE, false, "", invites + " end:timeout@16000"},
		{"B on a stream", sip.INVITE, true, "", "INVITE@0 end:timeout@16000"},
		{"a 1xx ends A and B", sip.INVITE, false, "180@150 183@20000", "INVITE@0 INVITE@100 <180@150 <183@20000"},
		{"a 2xx, M", sip.INVITE, false, "180@50 200@60 200@70 180@80 486@90 200@6000", "INVITE@0 <180@50 <200@60 again@70 again@6000 end:done@6460"},
		{"M on a stream", sip.INVITE, true, "200@60 200@70", "INVITE@0 <200@60 again@70 end:done@6460"},
		{"a refusal, D", sip.INVITE, false, "486@50 486@60 200@70 180@80 486@32000", "INVITE@0 <486@50 ACK@50 ACK@60 ACK@32000 end:done@32050"},
		{"D on a stream is short", sip.INVITE, true, "486@50 486@60", "INVITE@0 <486@50 ACK@50 ACK@60 end:done@550"},
		{"E and F", sip.OPTIONS, false, "", asks + " " + every("OPTIONS", 1100, 15900) + " end:timeout@16000"},
		{"F on a stream", sip.OPTIONS, true, "", "OPTIONS@0 end:timeout@16000"},
		{"after a 1xx E is T2, and F goes on", sip.OPTIONS, false, "100@50", "OPTIONS@0 <100@50 " + every("OPTIONS", 100, 15700) + " end:timeout@16000"},
		{"K", sip.OPTIONS, false, "200@50 200@60 100@70 500@80", "OPTIONS@0 <200@50 end:done@550"},
		{"K on a stream", sip.OPTIONS, true, "404@50 404@60", "OPTIONS@0 <404@50 end:done@550"},
		{"another's response", sip.OPTIONS, true, "other@50", "OPTIONS@0 end:timeout@16000"},
		{"of an ACK", sip.INVITE, true, "ack@50", "INVITE@0 end:timeout@16000"},
		{"of another method", sip.INVITE, true, "bye@50", "INVITE@0 end:timeout@16000"},
		{"connection lost", sip.OPTIONS, true, "lost@50", "OPTIONS@0 end:transport@50"},
		{"connection lost after a 1xx", sip.INVITE, true, "180@40 lost@50", "INVITE@0 <180@40 end:transport@50"},
		{"connection lost after the answer", sip.OPTIONS, true, "200@40 lost@50", "OPTIONS@0 <200@40 end:done@540"},
		{"connection lost after the call's", sip.INVITE, true, "200@40 lost@50 200@60", "INVITE@0 <200@40 again@60 end:done@6440"},
		{"a repeat can't be sent", sip.INVITE, false, "torn@50", "INVITE@0 end:transport@100"},
		{"an ACK can't be sent", sip.INVITE, false, "torn@50 486@60", "INVITE@0 <486@60 end:done@32060"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := &table{}
				b.open()
				w := &tape{stream: c.stream, begun: time.Now()}
				req := sent(t, c.method, "z9hG4bKone")
				tx, err := b.ask(req, w)
				if err != nil {
					t.Fatal(err)
				}
				tx.OnRetransmission(func(*sip.Response) { w.note("again") })
				stop := make(chan struct{})
				var reader sync.WaitGroup
				reader.Go(func() { // ends with the transaction, or by stop
					for {
						select {
						case res := <-tx.Responses():
							w.note(fmt.Sprint("<", res.StatusCode))
						case <-tx.Done():
							w.note("end:" + ended(tx.Err()))
							return
						case <-stop:
							return
						}
					}
				})
				got := w.run(c.script, func(what string) {
					switch what {
					case "lost":
						b.lost(w)
						return
					case "torn":
						w.tear(true)
						return
					}
					code, named := 200, map[string]sip.RequestMethod{"ack": sip.ACK, "bye": sip.BYE}
					_, _ = fmt.Sscan(what, &code)
					res := sip.NewResponseFromRequest(req, code, "Whatever", nil)
					if what == "other" {
						res.Via().Params.Add("branch", "z9hG4bKother")
					}
					if m, ok := named[what]; ok {
						res.CSeq().MethodName = m
					}
					if of := b.client(res); of != nil {
						of.receive(res)
					}
				})
				close(stop)
				reader.Wait()
				if got != c.want {
					t.Errorf("it goes\n%s, want\n%s", got, c.want)
				}
				if over := strings.Contains(c.want, "end:"); over != (len(b.all(anywhere)) == 0) {
					t.Errorf("%d transactions are left", len(b.all(anywhere)))
				}
				tx.Terminate()
				b.close()
			})
		})
	}
}

func ended(err error) string {
	switch {
	case errors.Is(err, ErrTimeout):
		return "timeout"
	case errors.Is(err, ErrTransport):
		return "transport"
	case errors.Is(err, errTerminated):
		return "done"
	}
	return fmt.Sprint(err)
}

// sent is a request of a transaction that its branch names.
func sent(t *testing.T, method sip.RequestMethod, branch string) *sip.Request {
	req := ours(t, method, "sip:a@cc.com")
	params := sip.NewParams()
	params.Add("branch", branch)
	req.PrependHeader(&sip.ViaHeader{ProtocolName: "SIP", ProtocolVersion: "2.0", Transport: "UDP", Host: "pc.cc.com", Params: params})
	return req
}

// B2.01, F42, RFC 3261 §17.2, RFC 6026 §7.1, §8.8: a server transaction with the same times. In the script, "again" is the request that comes again, a number
// what the room responds, "!" before it a response that fails to leave; "ACK" that of the room's dialog is seen as ">ACK".
func TestServerTransactionStates(t *testing.T) {
	t.Parallel()
	gs := "486@50 486@150 486@350 " + every("486", 750, 6350)
	for _, c := range []struct {
		name         string
		method       sip.RequestMethod
		stream       bool
		script, want string
	}{
		{"a 100 after 200 ms", sip.INVITE, false, "again@100 again@300 180@400 again@500 183@600 again@700", "100@200 100@300 180@400 180@500 183@600 183@700"},
		{"none where the room is faster", sip.INVITE, true, "183@199", "183@199"},
		{"none for others", sip.OPTIONS, false, "again@300 200@400 again@500 again@6700", "200@400 200@500 200@6700 end@6800"},
		{"L", sip.INVITE, false, "200@50 again@60 200@100 again@110 486@120 180@130 ACK@140 ACK@150 again@6000", "200@50 200@100 >ACK@140 >ACK@150 end@6450"},
		{"L on a stream", sip.INVITE, true, "180@40 200@50 ACK@60", "180@40 200@50 >ACK@60 end@6450"},
		{"G and H", sip.INVITE, false, "486@50", gs + " end@6450"},
		{"H on a stream", sip.INVITE, true, "486@50", "486@50 end@6450"},
		{"the ACK ends G, and then it is I", sip.INVITE, false, "486@50 again@60 ACK@160 ACK@170 again@180 480@190", "486@50 486@60 486@150 end@660"},
		{"I on a stream is zero", sip.INVITE, true, "486@50 ACK@60", "486@50 end@60"},
		{"an ACK before any final response", sip.INVITE, false, "180@10 ACK@20 486@50 ACK@60", "180@10 486@50 end@560"},
		{"J", sip.OPTIONS, false, "100@10 again@20 404@50 again@60 200@70 again@80", "100@10 100@20 404@50 404@60 404@80 end@6450"},
		{"J on a stream is zero", sip.OPTIONS, true, "200@50", "200@50 end@50"},
		{"a CANCEL", sip.INVITE, false, "180@10 CANCEL@50 200@60 ACK@70", "180@10 487@50 cancelled@50 end@570"},
		{"a CANCEL that comes late", sip.INVITE, false, "200@10 CANCEL@50", "200@10 end@6410"},
		{"a CANCEL of what can't be", sip.OPTIONS, true, "CANCEL@50 200@60", "200@60 end@60"},
		{"a CANCEL of what has its answer", sip.MESSAGE, false, "200@10 CANCEL@50 again@60", "200@10 200@60 end@6410"},
		{"connection lost", sip.INVITE, true, "180@10 lost@50", "180@10 end@50"},
		{"connection lost after the answer", sip.INVITE, true, "200@10 lost@50", "200@10 end@50"},
		{"the room leaves it", sip.OPTIONS, false, "left@50", "end@50"},
		{"the room leaves it answered", sip.OPTIONS, false, "200@10 left@50 again@60", "200@10 200@60 end@6410"},
		{"what can't be sent is sent with the next repeat", sip.OPTIONS, false, "!200@50 again@60", "200@60 end@6450"},
		{"a refusal that can't be sent", sip.INVITE, false, "!486@50 ACK@160", "486@150 end@660"},
		{"a 1xx that can't be sent", sip.INVITE, false, "!180@50 200@60", "200@60 end@6460"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := &table{}
				b.open()
				w := &tape{stream: c.stream, begun: time.Now()}
				req := sent(t, c.method, "z9hG4bKone")
				tx, fresh, err := b.server(req, w)
				if err != nil || !fresh {
					t.Fatal(fresh, err)
				}
				tx.whenOver(func() { w.note("end") })
				tx.whenCancelled(func(*sip.Request) { w.note("cancelled") })
				got := w.run(c.script, func(what string) {
					switch what {
					case "lost":
						b.lost(w)
						return
					case "left":
						tx.leave()
						return
					case "again", "ACK", "CANCEL":
						m := c.method
						if what != "again" {
							m = sip.RequestMethod(what)
						}
						of := b.cancelled(sent(t, m, "z9hG4bKone"))
						if what != "CANCEL" {
							of, _, _ = b.server(sent(t, m, "z9hG4bKone"), w)
						}
						if of != tx {
							t.Errorf("%s is of %v", what, of)
							return
						}
						if !of.receive(sent(t, m, "z9hG4bKone")) {
							w.note(">" + what)
						}
						return
					}
					var code int
					number, torn := strings.CutPrefix(what, "!")
					_, _ = fmt.Sscan(number, &code)
					w.tear(torn)
					if err := tx.respond(sip.NewResponseFromRequest(req, code, "Whatever", nil)); torn != errors.Is(err, ErrTransport) {
						t.Errorf("%s = %v", what, err)
					}
					w.tear(false)
				})
				if got != c.want {
					t.Errorf("it goes\n%s, want\n%s", got, c.want)
				}
				if over := strings.Contains(c.want, "end@"); over != (len(b.all(anywhere)) == 0) {
					t.Errorf("%d transactions are left", len(b.all(anywhere)))
				}
				b.close()
			})
		})
	}
}

// B2.01, RFC 3261 §17.2.3, §17.1.3: what belongs to a transaction: the branch, who sent it, and the method, ACK being the INVITE's and CANCEL anybody's; of RFC 2543's
// time, without the cookie, also Call-ID, CSeq and From tag.
func TestTransactionsAreTold(t *testing.T) {
	t.Parallel()
	via := func(host string, port int, branch string) func(*sip.Request) {
		return func(req *sip.Request) {
			v := req.Via()
			v.Host, v.Port = host, port
			v.Params.Add("branch", branch)
		}
	}
	number := func(n uint32) func(*sip.Request) { return func(req *sip.Request) { req.CSeq().SeqNo = n } }
	as := func(m sip.RequestMethod) func(*sip.Request) {
		return func(req *sip.Request) { req.Method, req.CSeq().MethodName = m, m }
	}
	for _, c := range []struct {
		name   string
		first  []func(*sip.Request)
		second []func(*sip.Request)
		same   bool
	}{
		{"again", nil, nil, true},
		{"its ACK", nil, []func(*sip.Request){as(sip.ACK)}, true},
		{"a BYE with the same branch", nil, []func(*sip.Request){as(sip.BYE)}, false},
		{"another branch", nil, []func(*sip.Request){via("pc.cc.com", 0, "z9hG4bKtwo")}, false},
		{"another host", nil, []func(*sip.Request){via("other.cc.com", 0, "z9hG4bKone")}, false},
		{"the port that is meant", nil, []func(*sip.Request){via("pc.cc.com", 5060, "z9hG4bKone")}, true},
		{"another port", nil, []func(*sip.Request){via("pc.cc.com", 5062, "z9hG4bKone")}, false},
		{"another CSeq, which says nothing", nil, []func(*sip.Request){number(2)}, true},
		{"without the cookie", []func(*sip.Request){via("pc.cc.com", 0, "1")}, []func(*sip.Request){via("pc.cc.com", 0, "1")}, true},
		{"without the cookie, another CSeq", []func(*sip.Request){via("pc.cc.com", 0, "1")}, []func(*sip.Request){via("pc.cc.com", 0, "1"), number(2)}, false},
		{"without the cookie, its ACK", []func(*sip.Request){via("pc.cc.com", 0, "1")}, []func(*sip.Request){via("pc.cc.com", 0, "1"), as(sip.ACK)}, true},
	} {
		synctest.Test(t, func(t *testing.T) {
			b := &table{}
			b.open()
			one := sent(t, sip.INVITE, "z9hG4bKone")
			two := Clone(one)
			for _, change := range c.first {
				change(one)
			}
			for _, change := range c.second {
				change(two)
			}
			tx, _, err := b.server(one, &tape{})
			if err != nil {
				t.Fatal(err)
			}
			again, fresh, err := b.server(two, &tape{})
			if err != nil || fresh == c.same || (again == tx) != c.same {
				t.Errorf("%s: one more transaction %v, %v", c.name, fresh, err)
			}
			if !slices.Contains([]sip.RequestMethod{sip.ACK, sip.BYE}, two.Method) {
				as(sip.CANCEL)(two)
				if of := b.cancelled(two); (of == tx) != c.same {
					t.Errorf("%s: a CANCEL is of %v", c.name, of)
				}
				if two.CSeq().MethodName != sip.CANCEL {
					t.Errorf("%s: the CANCEL is changed", c.name)
				}
			}
			b.close()
		})
	}
}
