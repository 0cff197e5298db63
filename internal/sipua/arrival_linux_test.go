package sipua

import (
	"net"
	"testing"
	"time"
)

// F64: what waited in the socket came when the kernel took it, not when it was read. (A kernel needs a moment to begin with stamps.)
func TestArrivalIsTheKernels(t *testing.T) {
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	stamp(conn)
	s := &socket{conn: conn}
	var before, after, came time.Time
	for end := time.Now().Add(patience); time.Now().Before(end); {
		before = time.Now()
		_, _ = conn.WriteTo([]byte("x"), conn.LocalAddr())
		after = time.Now()
		<-time.After(50 * time.Millisecond)
		if _, _, came, err = s.receive(make([]byte, 10), make([]byte, stampSize)); err != nil {
			t.Fatal(err)
		}
		if !came.Before(before.Add(-10*time.Millisecond)) && came.Before(after.Add(10*time.Millisecond)) {
			return
		}
	}
	t.Errorf("sent between %v and %v, it came at %v", before, after, came)
}
