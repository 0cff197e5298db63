package sipua

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/miekg/dns"
)

// nameServer is a DNS server with a zone of its own.
type nameServer struct {
	addr   string
	mu     sync.Mutex
	zone   []dns.RR
	asked  map[string]int // "name kind"
	failed bool           // SERVFAIL to everything
}

func newNameServer(t *testing.T, records ...string) *nameServer {
	t.Helper()
	n := &nameServer{asked: map[string]int{}}
	for _, r := range records {
		rr, err := dns.NewRR(r)
		if err != nil {
			t.Fatal(err)
		}
		n.zone = append(n.zone, rr)
	}
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n.addr = conn.LocalAddr().String()
	server := &dns.Server{PacketConn: conn, Handler: dns.HandlerFunc(n.serve)}
	var running sync.WaitGroup
	running.Go(func() { _ = server.ActivateAndServe() }) // ends by Shutdown
	t.Cleanup(func() {
		_ = server.Shutdown()
		conn.Close()
		running.Wait()
	})
	return n
}

func (n *nameServer) serve(w dns.ResponseWriter, m *dns.Msg) {
	n.mu.Lock()
	defer n.mu.Unlock()
	q := m.Question[0]
	n.asked[q.Name+" "+dns.TypeToString[q.Qtype]]++
	a := new(dns.Msg)
	a.SetReply(m)
	known := false
	for _, rr := range n.zone {
		if strings.EqualFold(rr.Header().Name, q.Name) {
			known = true
			if rr.Header().Rrtype == q.Qtype {
				a.Answer = append(a.Answer, rr)
			}
		}
	}
	switch {
	case n.failed:
		a.SetRcode(m, dns.RcodeServerFailure)
	case !known:
		a.SetRcode(m, dns.RcodeNameError)
	}
	_ = w.WriteMsg(a)
}

func (n *nameServer) count() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	sum := 0
	for _, c := range n.asked {
		sum += c
	}
	return sum
}

func resolve(t *testing.T, e *Endpoint, uri, key string) (all []string) {
	t.Helper()
	var u sip.Uri
	if err := sip.ParseUri(uri, &u); err != nil {
		t.Fatal(err)
	}
	found, err := e.targets(bounded(t), u, key)
	if err != nil {
		return []string{"none"}
	}
	for _, f := range found {
		all = append(all, f.network+" "+f.addr.String())
	}
	return all
}

// B2.08, RFC 3263 §4.1, §4.2: which transport, port and addresses a URI stands for.
func TestNextHopIsFoundAsRFC3263Says(t *testing.T) {
	t.Parallel()
	n := newNameServer(t,
		// NAPTR: TLS is preferred to TCP; a service that we don't speak is none.
		"naptr.example. 60 IN NAPTR 20 50 \"s\" \"SIP+D2T\" \"\" _sip._tcp.naptr.example.",
		"naptr.example. 60 IN NAPTR 10 60 \"s\" \"SIP+D2S\" \"\" _sip._sctp.naptr.example.",
		"naptr.example. 60 IN NAPTR 10 70 \"s\" \"SIPS+D2T\" \"\" _sips._tcp.naptr.example.",
		"_sips._tcp.naptr.example. 60 IN SRV 1 0 5071 p1.naptr.example.",
		"_sip._tcp.naptr.example. 60 IN SRV 2 0 5072 p2.naptr.example.",
		"_sip._tcp.naptr.example. 60 IN SRV 1 0 5073 p1.naptr.example.",
		"_sip._udp.naptr.example. 60 IN SRV 1 0 5074 p1.naptr.example.",
		"p1.naptr.example. 60 IN A 127.0.0.11",
		"p2.naptr.example. 60 IN A 127.0.0.12",
		"naptr.example. 60 IN A 127.0.0.10",
		// SRV alone: UDP before TCP.
		"srv.example. 60 IN A 127.0.0.20",
		"_sip._tcp.srv.example. 60 IN SRV 1 0 5082 p.srv.example.",
		"_sip._udp.srv.example. 60 IN SRV 1 0 5081 p.srv.example.",
		"p.srv.example. 60 IN A 127.0.0.21",
		// Addresses alone, of both families.
		"a.example. 60 IN A 127.0.0.30",
		"a.example. 60 IN A 127.0.0.31",
		"a.example. 60 IN AAAA ::1",
		// The service is decidedly not there (RFC 2782).
		"no.example. 60 IN A 127.0.0.40",
		"_sip._udp.no.example. 60 IN SRV 0 0 0 .",
	)
	e := listenWith(t, Options{Listen: []string{"udp:127.0.0.1:0"}, DNS: n.addr}, nil)
	for uri, want := range map[string][]string{
		"sip:192.0.2.1":                    {"udp 192.0.2.1:5060"},
		"sip:192.0.2.1:5070;transport=tcp": {"tcp 192.0.2.1:5070"},
		"sips:192.0.2.1":                   {"tls 192.0.2.1:5061"},
		"sips:192.0.2.1;transport=ws":      {"wss 192.0.2.1:443"},
		"sip:[2001:db8::1];transport=tls":  {"tls [2001:db8::1]:5061"},
		"sip:[2001:db8::1]:5090":           {"udp [2001:db8::1]:5090"},
		"sip:naptr.example":                {"tls 127.0.0.11:5071", "tcp 127.0.0.11:5073", "tcp 127.0.0.12:5072"},
		"sips:naptr.example":               {"tls 127.0.0.11:5071"},
		"sip:naptr.example;transport=udp":  {"udp 127.0.0.11:5074"},
		"sip:naptr.example;transport=tls":  {"tls 127.0.0.11:5071"},
		"sip:naptr.example:5099":           {"udp 127.0.0.10:5099"},
		"sips:naptr.example:5099":          {"tls 127.0.0.10:5099"},
		"sip:x;maddr=naptr.example":        {"tls 127.0.0.11:5071", "tcp 127.0.0.11:5073", "tcp 127.0.0.12:5072"},
		"sip:srv.example":                  {"udp 127.0.0.21:5081", "tcp 127.0.0.21:5082"},
		"sip:SRV.example.;transport=TCP":   {"tcp 127.0.0.21:5082"},
		"sips:srv.example":                 {"tls 127.0.0.20:5061"},
		"sip:a.example":                    {"udp [::1]:5060", "udp 127.0.0.30:5060", "udp 127.0.0.31:5060"},
		"sip:a.example;transport=ws":       {"ws [::1]:80", "ws 127.0.0.30:80", "ws 127.0.0.31:80"},
		"sip:no.example;transport=udp":     {"none"},
		"sip:nobody.example":               {"none"},
		"sip:192.0.2.1;transport=sctp":     {"none"},
		"sips:192.0.2.1;transport=udp":     {"none"},
	} {
		if got := resolve(t, e, uri, ""); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", uri, got, want)
		}
	}
	if got := e.Lookup(t.Context(), "sip:naptr.example"); !slices.Equal(got, []netip.Addr{netip.MustParseAddr("127.0.0.11"), netip.MustParseAddr("127.0.0.12")}) {
		t.Errorf("Lookup = %v", got)
	}
	// All of that again costs no question, not that for what isn't there either.
	before := n.count()
	resolve(t, e, "sip:naptr.example", "")
	resolve(t, e, "sip:nobody.example", "")
	if after := n.count(); after != before {
		t.Errorf("%d more questions", after-before)
	}
}

// B2.08, RFC 2782: weights share the load, a weight of 0 has little of it, and requests of one dialog stay together.
func TestWeightsSpreadTheLoad(t *testing.T) {
	t.Parallel()
	n := newNameServer(t,
		"_sip._udp.w.example. 60 IN SRV 1 60 1 p.w.example.", "_sip._udp.w.example. 60 IN SRV 1 20 2 p.w.example.",
		"_sip._udp.w.example. 60 IN SRV 1 0 3 p.w.example.", "_sip._udp.w.example. 60 IN SRV 2 60 4 p.w.example.", "p.w.example. 60 IN A 127.0.0.1")
	e := listenWith(t, Options{Listen: []string{"udp:127.0.0.1:0"}, DNS: n.addr}, nil)
	first := map[string]int{}
	for i := range 4000 {
		key := fmt.Sprint("call ", i)
		all := resolve(t, e, "sip:w.example", key)
		if len(all) != 4 || all[3] != "udp 127.0.0.1:4" || !slices.Equal(all, resolve(t, e, "sip:w.example", key)) {
			t.Fatalf("%q", all)
		}
		first[all[0]]++
	}
	if a, b, c := first["udp 127.0.0.1:1"], first["udp 127.0.0.1:2"], first["udp 127.0.0.1:3"]; a < 2800 || a > 3200 || b < 800 || b > 1150 || c == 0 || c > 150 {
		t.Errorf("shares %d, %d, %d of weights 60, 20, 0", a, b, c)
	}
}

// RFC 8767: an answer that has grown old is better than none; the failure is not asked for again at once.
func TestOldAnswersServeWhereTheDNSFails(t *testing.T) {
	t.Parallel()
	n := newNameServer(t, "a.example. 0 IN A 127.0.0.1")
	r := &resolver{server: n.addr, patience: patience}
	q := question{"a.example", dns.TypeA}
	if got := r.records(t.Context(), q); len(got) != 1 {
		t.Fatalf("%v", got)
	}
	n.mu.Lock()
	n.failed = true
	n.mu.Unlock()
	before := n.count()
	for range 3 {
		if got := r.records(t.Context(), q); len(got) != 1 {
			t.Errorf("%v", got)
		}
	}
	if asked := n.count() - before; asked != 1 {
		t.Errorf("asked %d times", asked)
	}
	gone, leave := context.WithCancel(t.Context())
	leave()
	if got := r.records(gone, question{"b.example", dns.TypeA}); got != nil {
		t.Errorf("%v", got)
	}
}

// RFC 3263 §4, RFC 1035 §4.2.1: a name server that is silent leaves the next one time to answer.
func TestSilentNameServerIsPassedOver(t *testing.T) {
	t.Parallel()
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	n := newNameServer(t, "cc.com. 60 IN NAPTR 10 50 \"s\" \"SIP+D2T\" \"\" _sip._tcp.cc.com.")
	r := &resolver{patience: 6 * time.Second}
	a, err := r.askAll(t.Context(), question{"cc.com.", dns.TypeNAPTR}, []string{silent.LocalAddr().String(), n.addr})
	if err != nil || len(a.records) != 1 {
		t.Errorf("%v, %v", a.records, err)
	}
}
