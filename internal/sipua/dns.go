package sipua

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sync/singleflight"
)

// resolver asks the DNS and remembers what it said. Addresses come from the machine's own resolver, which also reads /etc/hosts,
// unless a server was named.
type resolver struct {
	server   string        // host:port; "": those of resolv.conf
	patience time.Duration // dnsPatience, but in tests
	flight   singleflight.Group

	mu    sync.Mutex
	known map[question]kept
}

type question struct {
	name string
	kind uint16
}

type kept struct {
	records []dns.RR
	until   time.Time
}

// Times of the cache. What the DNS doesn't bound is short; a failure to ask is remembered briefly, so that calls don't queue up behind it.
const (
	dnsPatience = 2 * time.Second
	hostsKept   = 30 * time.Second // the machine's resolver tells no TTL
	nothingKept = 30 * time.Second // "no such name" without a SOA; RFC 2308 §5 would not keep it, for fear of loops between servers, of which we are none
	failureKept = 5 * time.Second
	longestKept = time.Hour
	maxAnswers  = 2048
)

const resolvConf = "/etc/resolv.conf"

// records answers a question, from the cache where it can. Nothing is an answer, too.
func (r *resolver) records(ctx context.Context, q question) []dns.RR {
	q.name = strings.ToLower(dns.Fqdn(q.name))
	r.mu.Lock()
	old, ok := r.known[q]
	r.mu.Unlock()
	if ok && time.Now().Before(old.until) {
		return old.records
	}
	// Those who ask at the same time get one answer; it outlives the first one's patience.
	ch := r.flight.DoChan(q.name+dns.TypeToString[q.kind], func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.patience)
		defer cancel()
		a, err := r.ask(ctx, q)
		if err != nil { // RFC 8767 §4: what was true is better than nothing
			a = kept{old.records, time.Now().Add(failureKept)}
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.known == nil || len(r.known) >= maxAnswers {
			r.known = map[question]kept{}
		}
		r.known[q] = a
		return a.records, nil
	})
	select {
	case res := <-ch:
		rr, _ := res.Val.([]dns.RR)
		return rr
	case <-ctx.Done():
		return old.records
	}
}

var errNoServer = errors.New("no name server")

// ask sends one question to where it belongs.
func (r *resolver) ask(ctx context.Context, q question) (kept, error) {
	if r.server == "" && q.kind == dns.TypeA {
		return hosts(ctx, q.name)
	}
	servers := []string{r.server}
	if r.server == "" {
		if dns.CountLabel(q.name) < 2 {
			return kept{until: time.Now().Add(longestKept)}, nil // localhost and its like have no services
		}
		c, err := dns.ClientConfigFromFile(resolvConf)
		if err != nil {
			return kept{}, err
		}
		servers = servers[:0]
		for _, s := range c.Servers {
			servers = append(servers, net.JoinHostPort(s, c.Port))
		}
	}
	return r.askAll(ctx, q, servers)
}

// askAll asks one server after the other. One that is silent leaves the next ones their share of the patience.
func (r *resolver) askAll(ctx context.Context, q question, servers []string) (kept, error) {
	m := new(dns.Msg)
	m.SetQuestion(q.name, q.kind)
	m.SetEdns0(1232, false)
	err, until := errNoServer, time.Now().Add(r.patience)
	for i, s := range servers {
		share := time.Until(until) / time.Duration(len(servers)-i)
		var in *dns.Msg
		in, _, err = (&dns.Client{Timeout: share}).ExchangeContext(ctx, m, s)
		if err == nil && in.Truncated {
			in, _, err = (&dns.Client{Net: "tcp", Timeout: share}).ExchangeContext(ctx, m, s)
		}
		switch {
		case err != nil:
		case in.Rcode == dns.RcodeSuccess || in.Rcode == dns.RcodeNameError:
			return judged(in, q.kind), nil
		default:
			err = errors.New(dns.RcodeToString[in.Rcode])
		}
	}
	return kept{}, err
}

// judged takes the records of the wanted kind and how long they hold; of none, the SOA tells (RFC 2308 §5).
func judged(in *dns.Msg, kind uint16) kept {
	keep := longestKept
	least := func(ttl uint32) { keep = min(keep, time.Duration(ttl)*time.Second) }
	var a kept
	for _, rr := range in.Answer {
		if rr.Header().Rrtype == kind {
			a.records = append(a.records, rr)
		}
		least(rr.Header().Ttl)
	}
	if len(a.records) == 0 {
		keep = nothingKept
		for _, rr := range in.Ns {
			if soa, ok := rr.(*dns.SOA); ok {
				keep = longestKept
				least(min(soa.Minttl, soa.Hdr.Ttl))
			}
		}
	}
	a.until = time.Now().Add(keep)
	return a
}

// hosts asks the machine's resolver for both families.
func hosts(ctx context.Context, name string) (kept, error) {
	bare := strings.TrimSuffix(name, ".")
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", bare)
	if missing, ok := errors.AsType[*net.DNSError](err); err != nil && (!ok || !missing.IsNotFound) {
		return kept{}, err
	}
	a := kept{until: time.Now().Add(hostsKept)}
	for _, ip := range ips {
		h := dns.RR_Header{Name: name, Rrtype: dns.TypeA, Class: dns.ClassINET}
		if ip = ip.Unmap(); ip.Is4() {
			a.records = append(a.records, &dns.A{Hdr: h, A: ip.AsSlice()})
		} else {
			h.Rrtype = dns.TypeAAAA
			a.records = append(a.records, &dns.AAAA{Hdr: h, AAAA: ip.AsSlice()})
		}
	}
	return a, nil
}

// addressQuestions are those that addresses will ask.
func (r *resolver) addressQuestions(host string) []question {
	if r.server == "" {
		return []question{{host, dns.TypeA}} // for both
	}
	return []question{{host, dns.TypeAAAA}, {host, dns.TypeA}}
}

// addresses lists a host's addresses.
func (r *resolver) addresses(ctx context.Context, host string) (ips []netip.Addr) {
	ask := r.addressQuestions(host)
	r.all(ctx, ask)
	for _, q := range ask {
		for _, rr := range r.records(ctx, q) {
			var raw net.IP
			switch rr := rr.(type) {
			case *dns.A:
				raw = rr.A
			case *dns.AAAA:
				raw = rr.AAAA
			}
			if ip, ok := netip.AddrFromSlice(raw); ok {
				ips = append(ips, ip.Unmap())
			}
		}
	}
	return ips
}
