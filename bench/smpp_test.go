package bench

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"latchkey/gateway/gatewaytest"
	"latchkey/imstest"
	"latchkey/notify/smpp"
)

const (
	smppWindow = 50
	smppUnit   = 180 // octets of a submit_sm with 100 characters, filled up to this by a parameter
	smppAnswer = 25
)

// BenchmarkSMPP is how many submit_sm with a window of 50 one link carries, to a centre that answers each and does nothing else. Beside
// it: a plain TCP connection with units of the same sizes, as many under way, each written and read by itself.
func BenchmarkSMPP(b *testing.B) {
	n := int(scale(b, 20_000))
	ours, raw := &figure{name: fmt.Sprintf("%d submit_sm of %d octets, window %d", n, smppUnit, smppWindow), unit: "/s"}, &figure{name: "the same sizes, bare TCP", unit: "/s"}
	c, stop := smppClient(b)
	defer stop()
	conn := serveUnits(b)
	for range rounds(b) {
		ours.add(float64(n) / seconds(func() { submitMany(b, c, n) }))
		raw.add(float64(n) / seconds(func() { exchangeMany(b, conn, n) }))
	}
	beside(b, ours, raw)
}

func seconds(f func()) float64 {
	begun := time.Now()
	f()
	return time.Since(begun).Seconds()
}

// serveUnits answers what begins as SMPP does, whatever it is: binds and submissions alike.
func serveUnits(b *testing.B) net.Conn {
	b.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = ln.Close() })
	go func() { // ends with the listener
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go answerUnits(conn) // ends with the connection
		}
	}()
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = conn.Close() })
	return conn
}

// answerUnits reads units by their length and answers each with 25 octets: the command as a response, its sequence and an id.
func answerUnits(conn net.Conn) {
	defer conn.Close()
	in := bufio.NewReaderSize(conn, 32<<10)
	unit := make([]byte, 1<<10)
	for {
		if _, err := io.ReadFull(in, unit[:16]); err != nil {
			return
		}
		size := binary.BigEndian.Uint32(unit)
		if _, err := io.ReadFull(in, unit[16:size]); err != nil {
			return
		}
		answer := make([]byte, smppAnswer)
		binary.BigEndian.PutUint32(answer, smppAnswer)
		binary.BigEndian.PutUint32(answer[4:], binary.BigEndian.Uint32(unit[4:])|1<<31)
		copy(answer[12:], unit[12:16])
		copy(answer[16:], "12345678\x00")
		if _, err := conn.Write(answer); err != nil {
			return
		}
	}
}

func smppClient(b *testing.B) (c *smpp.Client, stop func()) {
	b.Helper()
	addr := serveUnits(b).RemoteAddr().String()
	c = smpp.New([]smpp.Server{{HostPort: addr, SystemID: "bench"}}, smpp.Options{Window: smppWindow})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = c.Run(ctx) }) // ends with ctx
	return c, func() { cancel(); running.Wait() }
}

func submitMany(b *testing.B, c *smpp.Client, n int) {
	m := &smpp.SM{From: smpp.Address{TON: 5, Digits: "Latchkey"}, To: smpp.Address{TON: 1, NPI: 1, Digits: "8613900000001"}, Short: []byte(strings.Repeat("a", 100))}
	unit, err := smpp.PDU{Command: smpp.SubmitSM, Body: m}.Append(nil)
	if err != nil {
		b.Fatal(err)
	}
	m.TLVs = []smpp.TLV{{Tag: 0x1400, Value: make([]byte, smppUnit-len(unit)-4)}}
	var all sync.WaitGroup
	for i := range smppWindow {
		all.Go(func() {
			for range n/smppWindow + min(1, max(0, n%smppWindow-i)) {
				if _, err := c.Submit(context.Background(), m); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
}

func exchangeMany(b *testing.B, conn net.Conn, n int) {
	window := make(chan struct{}, smppWindow)
	var all sync.WaitGroup
	all.Go(func() {
		unit := make([]byte, smppUnit)
		binary.BigEndian.PutUint32(unit, smppUnit)
		for range n {
			window <- struct{}{}
			if _, err := conn.Write(unit); err != nil {
				b.Error(err)
				return
			}
		}
	})
	answer := make([]byte, smppAnswer)
	in := bufio.NewReaderSize(conn, 32<<10)
	for range n {
		if _, err := io.ReadFull(in, answer); err != nil {
			b.Fatal(err)
		}
		<-window
	}
	all.Wait()
}

// BenchmarkDrain is a gateway with 100,000 invitations in its outbox, which go to an SMS centre at the rate that is configured: the rate that
// comes out, and the process's memory at the beginning, at most, and at the end. LATCHKEY_BENCH_RATE is that rate, 500 by default.
func BenchmarkDrain(b *testing.B) {
	n, rate := int(scale(b, 100_000)), 500
	if r, err := strconv.Atoi(os.Getenv("LATCHKEY_BENCH_RATE")); err == nil && r > 0 {
		rate = r
	}
	s, err := imstest.NewSMSC("")
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	w := gatewaytest.New(b, gatewaytest.Plan{
		Command: []string{program(b), "serve"},
		Args:    []string{"--log-level=info", fmt.Sprintf("--sms=smpp://me:secret@%s?window=%d&rate=%d", s.Addr(), smppWindow, rate)},
	})
	w.Stop()
	w.QueueSMS(gatewaytest.Alice, n)
	w.Start()
	begun := time.Now()
	first, most := w.Memory(), 0
	for len(s.Taken()) < n && time.Since(begun) < time.Duration(3*n/rate+120)*time.Second {
		most = max(most, w.Memory())
		<-time.After(time.Second)
	}
	took := time.Since(begun)
	b.ReportMetric(0, "ns/op")
	b.Logf("%d of %d invitations in %.0f s: %.0f a second of %d configured; memory %d MiB at the beginning, %d MiB at most, %d MiB at the end",
		len(s.Taken()), n, took.Seconds(), float64(len(s.Taken()))/took.Seconds(), rate, first>>20, most>>20, w.Memory()>>20)
}
