package smpp_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/imstest"
	"latchkey/notify/smpp"
)

const patience = time.Minute

func centre(t *testing.T) *imstest.SMSC {
	t.Helper()
	s, err := imstest.NewSMSC("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Close()
		for _, v := range s.Violations() {
			t.Errorf("the SMS centre saw: %s", v)
		}
	})
	return s
}

// run runs a client of the centres until the test ends.
func run(t *testing.T, opt smpp.Options, addrs ...string) *smpp.Client {
	t.Helper()
	var servers []smpp.Server
	for _, a := range addrs {
		servers = append(servers, smpp.Server{HostPort: a, SystemID: "me", Password: "secret"})
	}
	if opt.FirstWait == 0 {
		opt.FirstWait = 20 * time.Millisecond
	}
	c := smpp.New(servers, opt)
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan error, 1)
	go func() { over <- c.Run(ctx) }() // ends with ctx
	t.Cleanup(func() {
		cancel()
		if err := <-over; err != nil {
			t.Errorf("Run = %v", err)
		}
	})
	return c
}

func message(text string) *smpp.SM {
	return &smpp.SM{From: smpp.Address{TON: 5, Digits: "Latchkey"}, To: smpp.Address{TON: 1, NPI: 1, Digits: "8613900000001"}, Registered: 1, Short: []byte(text)}
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// B3.15: both ways to bind, with name and password, and what is submitted is what arrives.
func TestMessagesAreSubmittedOverBothKindsOfBind(t *testing.T) {
	for pair, want := range map[bool][]uint32{false: {9}, true: {1, 2}} {
		s := centre(t)
		var user string
		s.Behave(imstest.SMSCManner{Receipt: "DELIVRD", Bound: func(id, password string) { user = id + ":" + password }})
		receipts := make(chan smpp.Receipt, 8)
		c := run(t, smpp.Options{Pair: pair, Deliver: func(_ context.Context, m *smpp.SM) error {
			r, _ := m.Receipt()
			receipts <- r
			return nil
		}}, s.Addr())
		id, err := c.Submit(within(t, patience), message("hello"))
		if err != nil {
			t.Fatal(err)
		}
		m, err := s.Wait(within(t, patience), "+8613900000001", 1)
		if err != nil || m.ID != id || m.Text != "hello" || m.From != "Latchkey" || m.TON != [2]byte{5, 1} || m.NPI != [2]byte{0, 1} {
			t.Errorf("taken %+v, %v; id %s", m, err, id)
		}
		if got := s.Binds(); !slices.Equal(got, want) || user != "me:secret" {
			t.Errorf("binds %v as %s, want %v", got, user, want)
		}
		if pair {
			// The receipt would come on the link that submitted: this centre sends it there. It is acknowledged all the same.
			continue
		}
		select {
		case r := <-receipts:
			if r.ID != id || r.State != smpp.Delivered {
				t.Errorf("receipt %+v, want %s delivered", r, id)
			}
		case <-time.After(patience):
			t.Fatal("no receipt")
		}
	}
}

// B3.15: never more submissions wait for their answers than the window has.
func TestWindowIsKept(t *testing.T) {
	s := centre(t)
	var mu sync.Mutex
	var full sync.Once
	open, most := 0, 0
	release, filled := make(chan struct{}), make(chan struct{})
	// The centre's own link handles one submission after the other, so the window is seen at the socket: by a relay that counts.
	front := relay(t, s.Addr(), func(up, down int) {
		mu.Lock()
		defer mu.Unlock()
		open += up - down
		if most = max(most, open); open == 4 {
			full.Do(func() { close(filled) })
		}
	}, release)
	c := run(t, smpp.Options{Window: 4, Response: patience}, front)
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			if _, err := c.Submit(within(t, patience), message(fmt.Sprint(i))); err != nil {
				t.Error(err)
			}
		})
	}
	select {
	case <-filled:
	case <-time.After(patience):
		t.Error("the window is not used")
	}
	close(release)
	all.Wait()
	mu.Lock()
	defer mu.Unlock()
	if most != 4 || len(s.Taken()) != 20 {
		t.Errorf("%d submissions at once, %d taken, want 4 and 20", most, len(s.Taken()))
	}
}

// relay passes units on, counts submissions and their answers, and holds back answers until release is closed.
func relay(t *testing.T, to string, count func(up, down int), release chan struct{}) string {
	t.Helper()
	return between(t, to, func(from, to net.Conn, up bool) {
		for {
			p, err := smpp.Read(from)
			if err != nil {
				return
			}
			if up && p.Command == smpp.SubmitSM {
				count(1, 0)
			}
			if p.Command == smpp.SubmitSMResp {
				<-release
				count(0, 1)
			}
			raw, _ := p.Append(nil)
			if _, err := to.Write(raw); err != nil {
				return
			}
		}
	})
}

// between is an address at which pass carries what comes to another one, up, and what comes back. When it returns, the way on is closed.
func between(t *testing.T, to string, pass func(from, to net.Conn, up bool)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() { // ends with the listener
		for {
			a, err := ln.Accept()
			if err != nil {
				return
			}
			b, err := net.Dial("tcp", to)
			if err != nil {
				_ = a.Close()
				continue
			}
			carry := func(from, to net.Conn, up bool) {
				defer to.Close()
				pass(from, to, up)
			}
			go carry(a, b, true)  // ends with the connections
			go carry(b, a, false) // ends with the connections
		}
	}()
	return ln.Addr().String()
}

// B3.15: a centre that has too much to do is given time, and gets each message once.
func TestThrottledSubmissionsAreRepeatedLater(t *testing.T) {
	for _, code := range []smpp.Status{smpp.Throttled, smpp.QueueFull} {
		s := centre(t)
		s.Behave(imstest.SMSCManner{Answer: func(nth int, _ imstest.SMS) uint32 {
			if nth <= 3 {
				return uint32(code)
			}
			return 0
		}})
		c := run(t, smpp.Options{FirstWait: 40 * time.Millisecond}, s.Addr())
		begun := time.Now()
		if _, err := c.Submit(within(t, patience), message("hello")); err != nil {
			t.Fatal(err)
		}
		// 40, 80 and 160 ms, less a quarter.
		if took := time.Since(begun); took < 210*time.Millisecond || len(s.Taken()) != 1 || s.Submissions() != 4 {
			t.Errorf("%v: %d taken of %d submissions after %v, want 1 of 4 after 210 ms", code, len(s.Taken()), s.Submissions(), took)
		}
		inBubble(t, smpp.Options{FirstWait: time.Hour, LastWait: time.Hour}, func(ctx context.Context, c *smpp.Client, s *imstest.SMSC, _ func() int) {
			s.Behave(imstest.SMSCManner{Answer: func(int, imstest.SMS) uint32 { return uint32(code) }})
			ctx, cancel := context.WithTimeout(ctx, time.Minute)
			defer cancel()
			_, err := c.Submit(ctx, message("never"))
			if refusal, ok := errors.AsType[*smpp.Refusal](err); !ok || refusal.Status != code {
				t.Errorf("Submit = %v, want the refusal %v when time is up", err, code)
			}
		})
	}
}

// What is refused for another reason is told at once.
func TestRefusalsAreTold(t *testing.T) {
	s := centre(t)
	s.Behave(imstest.SMSCManner{Answer: func(int, imstest.SMS) uint32 { return 0x0b }})
	c := run(t, smpp.Options{}, s.Addr())
	_, err := c.Submit(within(t, patience), message("hello"))
	refusal, ok := errors.AsType[*smpp.Refusal](err)
	if !ok || !refusal.Status.Permanent() || refusal.Error() != "submit_sm: ESME_RINVDSTADR" || s.Submissions() != 1 {
		t.Errorf("Submit = %v after %d submissions", err, s.Submissions())
	}
}

// F19, B3.15: a connection that is lost in mid window fails what was open without a word, and a new one takes the rest.
func TestLinkIsMadeAnewAfterALossInMidWindow(t *testing.T) {
	s := centre(t)
	s.Behave(imstest.SMSCManner{HangUp: func(nth int, _ imstest.SMS) bool { return nth == 25 }})
	c := run(t, smpp.Options{Window: 10}, s.Addr())
	var mu sync.Mutex
	var lost, sent int
	var all sync.WaitGroup
	for i := range 100 {
		all.Go(func() {
			_, err := c.Submit(within(t, patience), message(fmt.Sprint(i)))
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				sent++
			case errors.Is(err, smpp.ErrLost):
				lost++
			default:
				t.Error(err)
			}
		})
	}
	all.Wait()
	if lost < 1 || lost > 10 || sent+lost != 100 || len(s.Taken()) < sent || len(s.Binds()) != 2 {
		t.Errorf("%d sent, %d lost, %d taken, %d binds; want at most a window lost and two binds", sent, lost, len(s.Taken()), len(s.Binds()))
	}
}

// B3.15: where the first centre is away or lets nobody in, the next one is used.
func TestNextCentreIsUsedWhereTheFirstIsAway(t *testing.T) {
	closed, good := centre(t), centre(t)
	closed.Behave(imstest.SMSCManner{Refuse: 0x0e})
	c := run(t, smpp.Options{}, imstest.Closed(t, ""), closed.Addr(), good.Addr())
	if _, err := c.Submit(within(t, patience), message("hello")); err != nil || len(good.Taken()) != 1 {
		t.Fatalf("Submit = %v, %d taken", err, len(good.Taken()))
	}
	closed.Behave(imstest.SMSCManner{})
	good.HangUp()
	imstest.Eventually(t, patience, func() bool { return len(closed.Binds()) == 1 })
	if _, err := c.Submit(within(t, patience), message("again")); err != nil || len(closed.Taken()) != 1 {
		t.Errorf("Submit = %v, %d taken by the one that is preferred", err, len(closed.Taken()))
	}
}

// Without a centre a message fails with the reason, and soon.
func TestSubmitSaysThatNoCentreIsThere(t *testing.T) {
	s := centre(t)
	s.Behave(imstest.SMSCManner{Refuse: 0x0e})
	inBubble(t, smpp.Options{Connect: 10 * time.Second}, func(ctx context.Context, c *smpp.Client, s *imstest.SMSC, _ func() int) {
		s.Behave(imstest.SMSCManner{Refuse: 0x0e})
		s.HangUp()
		synctest.Wait()
		begun := time.Now()
		_, err := c.Submit(ctx, message("hello"))
		if took := time.Since(begun); !errors.Is(err, smpp.ErrDown) || !strings.Contains(fmt.Sprint(err), "ESME_RINVPASWD") || took != 10*time.Second {
			t.Errorf("Submit = %v after %v, want ErrDown and why after 10 s", err, took)
		}
	})
	if err := smpp.Probe(within(t, patience), smpp.Server{HostPort: s.Addr()}, smpp.Options{}); err == nil || !strings.Contains(err.Error(), "ESME_RINVPASWD") {
		t.Errorf("Probe = %v", err)
	}
	s.Behave(imstest.SMSCManner{})
	if err := smpp.Probe(within(t, patience), smpp.Server{HostPort: s.Addr()}, smpp.Options{Pair: true}); err != nil {
		t.Errorf("Probe = %v", err)
	}
}

// A delivery is acknowledged when it was taken, and refused for now when not, so that the centre repeats it.
func TestDeliveriesAreAcknowledgedWhenTheyAreTaken(t *testing.T) {
	s := centre(t)
	got := make(chan string, 2)
	run(t, smpp.Options{Deliver: func(_ context.Context, m *smpp.SM) error {
		got <- m.From.String() + " " + m.Decode()
		if m.Decode() == "bad" {
			return errors.New("disk full")
		}
		return nil
	}}, s.Addr())
	imstest.Eventually(t, patience, func() bool { return s.Deliver("+8613900000001", "+12345", "退订") == nil })
	if first := <-got; first != "+8613900000001 退订" {
		t.Errorf("delivered %q", first)
	}
	imstest.Eventually(t, patience, func() bool { return len(s.Acks()) == 1 })
	if err := s.Deliver("+8613900000001", "+12345", "bad"); err != nil {
		t.Fatal(err)
	}
	imstest.Eventually(t, patience, func() bool { return slices.Equal(s.Acks(), []uint32{0, 0x64}) })
}

// B3.15: a rate is not exceeded, and a silent link is asked whether it lives; one that doesn't answer is given up.
func TestTimesAreKept(t *testing.T) {
	t.Run("rate", func(t *testing.T) {
		inBubble(t, smpp.Options{Rate: 10, Window: 50}, func(ctx context.Context, c *smpp.Client, s *imstest.SMSC, _ func() int) {
			begun := time.Now()
			var all sync.WaitGroup
			for range 101 {
				all.Go(func() {
					if _, err := c.Submit(ctx, message("x")); err != nil {
						t.Error(err)
					}
				})
			}
			all.Wait()
			if took := time.Since(begun); took != 10*time.Second {
				t.Errorf("101 messages took %v at 10 a second, want 10 s", took)
			}
		})
	})
	t.Run("throttled", func(t *testing.T) {
		inBubble(t, smpp.Options{FirstWait: 8 * time.Second}, func(ctx context.Context, c *smpp.Client, s *imstest.SMSC, _ func() int) {
			s.Behave(imstest.SMSCManner{Answer: func(nth int, _ imstest.SMS) uint32 {
				if nth == 1 {
					return uint32(smpp.Throttled)
				}
				return 0
			}})
			var all sync.WaitGroup
			defer all.Wait()
			all.Go(func() {
				if _, err := c.Submit(ctx, message("first")); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
			begun := time.Now()
			_, err := c.Submit(ctx, message("second"))
			if held := time.Since(begun); err != nil || held < 6*time.Second {
				t.Errorf("Submit = %v after %v; a centre that is throttling is left alone for 6 to 10 s", err, held)
			}
		})
	})
	t.Run("enquire_link", func(t *testing.T) {
		inBubble(t, smpp.Options{EnquireLink: 30 * time.Second, Response: 10 * time.Second, FirstWait: time.Second}, func(ctx context.Context, c *smpp.Client, s *imstest.SMSC, dials func() int) {
			time.Sleep(5 * time.Minute)
			if n := dials(); n != 1 {
				t.Errorf("%d connections to a centre that answers, want 1", n)
			}
			s.Behave(imstest.SMSCManner{Silent: true})
			time.Sleep(41 * time.Second)
			if n := dials(); n != 2 {
				t.Errorf("%d connections after 41 s of silence, want 2", n)
			}
		})
	})
	t.Run("no answer", func(t *testing.T) {
		inBubble(t, smpp.Options{Response: 10 * time.Second}, func(ctx context.Context, c *smpp.Client, s *imstest.SMSC, _ func() int) {
			s.Behave(imstest.SMSCManner{Silent: true})
			begun := time.Now()
			_, err := c.Submit(ctx, message("x"))
			if took := time.Since(begun); !errors.Is(err, smpp.ErrLost) || took != 10*time.Second {
				t.Errorf("Submit = %v after %v, want ErrLost after 10 s", err, took)
			}
		})
	})
	t.Run("back-off", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var at []time.Time
			c := smpp.New([]smpp.Server{{HostPort: "smsc.example:2775"}}, smpp.Options{Dial: func(context.Context, string, string) (net.Conn, error) {
				at = append(at, time.Now())
				return nil, errors.New("refused")
			}})
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
			defer cancel()
			_ = c.Run(ctx)
			for i := 1; i < len(at); i++ {
				wait, want := at[i].Sub(at[i-1]), min(time.Second<<(i-1), time.Minute)
				if wait < want*3/4 || wait > want*5/4+1 {
					t.Errorf("attempt %d after %v, want about %v", i+1, wait, want)
				}
			}
			if len(at) < 12 {
				t.Errorf("%d attempts in 10 minutes", len(at))
			}
		})
	})
}

// inBubble runs a client of a centre at the other end of pipes, in time that is only pretended.
func inBubble(t *testing.T, opt smpp.Options, f func(context.Context, *smpp.Client, *imstest.SMSC, func() int)) {
	t.Helper()
	s := centre(t)
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		dials := 0
		var serving sync.WaitGroup
		opt.Dial = func(context.Context, string, string) (net.Conn, error) {
			mu.Lock()
			defer mu.Unlock()
			dials++
			here, there := net.Pipe()
			serving.Go(func() { s.ServeUntilEnd(there) }) // ends with the connection
			return here, nil
		}
		c := smpp.New([]smpp.Server{{HostPort: "smsc.example:2775"}}, opt)
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { _ = c.Run(ctx) }) // ends with ctx
		synctest.Wait()
		f(ctx, c, s, func() int { mu.Lock(); defer mu.Unlock(); return dials })
		cancel()
		s.HangUp()
		running.Wait()
		serving.Wait()
	})
}
