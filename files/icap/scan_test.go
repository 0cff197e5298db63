package icap_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"latchkey/files/icap"
)

// ask is what a scripted service got: the request's lines, the chunks of its body, and whether the preview was all.
type ask struct {
	head   string
	body   []byte
	inside bool // ieof
}

// script answers one request on a connection, and returns whether another may follow.
type script func(t *testing.T, c net.Conn, in *bufio.Reader) bool

// service is an ICAP server of a test's own making. Each request is answered by the next script, the last one by all that follow.
type service struct {
	l       net.Listener
	mu      sync.Mutex
	conns   int
	scripts []script
	asked   []string // request lines
}

func serve(t *testing.T, scripts ...script) *service {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return serveOn(t, l, scripts...)
}

func serveOn(t *testing.T, l net.Listener, scripts ...script) *service {
	t.Helper()
	s := &service{scripts: scripts, l: l}
	var running sync.WaitGroup
	running.Go(func() { // ends with the listener
		for {
			c, err := s.l.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.conns++
			s.mu.Unlock()
			running.Go(func() { // ends with the connection
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(20 * time.Second))
				in := bufio.NewReader(c)
				for {
					line, err := in.Peek(7)
					if err != nil {
						return
					}
					s.mu.Lock()
					s.asked = append(s.asked, string(line))
					next := s.scripts[0]
					if len(s.scripts) > 1 {
						s.scripts = s.scripts[1:]
					}
					s.mu.Unlock()
					if !next(t, c, in) {
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() {
		_ = s.l.Close()
		running.Wait()
	})
	return s
}

func (s *service) connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conns
}

func (s *service) client(t *testing.T) *icap.Client {
	t.Helper()
	c, err := icap.New("icap://"+s.l.Addr().String()+"/scan?mode=x", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// readHead reads up to the empty line behind the ICAP header.
func readHead(in *bufio.Reader) (string, error) {
	var b strings.Builder
	for {
		line, err := in.ReadString('\n')
		b.WriteString(line)
		if err != nil || line == "\r\n" {
			return b.String(), err
		}
	}
}

// readChunks reads up to the end of a preview or a body.
func readChunks(in *bufio.Reader) (body []byte, ieof bool, err error) {
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return body, false, err
		}
		size, extension, _ := strings.Cut(strings.TrimSpace(line), ";")
		n, err := strconv.ParseInt(size, 16, 64)
		if err != nil {
			return body, false, err
		}
		chunk := make([]byte, n+2)
		if _, err := io.ReadFull(in, chunk); err != nil || !bytes.HasSuffix(chunk, []byte("\r\n")) {
			return body, false, errors.Join(err, fmt.Errorf("chunk ends %q", chunk[n:]))
		}
		if n == 0 {
			return body, strings.TrimSpace(extension) == "ieof", nil
		}
		body = append(body, chunk[:n]...)
	}
}

// readAsk reads a request, the HTTP header that is enclosed, and the first part of the body.
func readAsk(t *testing.T, in *bufio.Reader) (a ask, err error) {
	if a.head, err = readHead(in); err != nil {
		return a, err
	}
	_, spans, _ := strings.Cut(a.head, "Encapsulated: ")
	spans, _, _ = strings.Cut(spans, "\r\n")
	if spans == "null-body=0" {
		return a, nil
	}
	at := spans[strings.LastIndexByte(spans, '=')+1:]
	n, err := strconv.Atoi(at)
	if err != nil {
		t.Errorf("Encapsulated: %q", spans)
		return a, err
	}
	enclosed := make([]byte, n)
	if _, err := io.ReadFull(in, enclosed); err != nil {
		return a, err
	}
	if !bytes.HasSuffix(enclosed, []byte("\r\n\r\n")) {
		t.Errorf("Encapsulated %q does not fit what is enclosed: %q", spans, enclosed)
	}
	a.head += string(enclosed)
	a.body, a.inside, err = readChunks(in)
	return a, err
}

// options answers OPTIONS with fields.
func options(fields string) script {
	return func(t *testing.T, c net.Conn, in *bufio.Reader) bool {
		head, err := readHead(in)
		if err != nil || !strings.HasPrefix(head, "OPTIONS icap://127.0.0.1:") || !strings.Contains(head, "/scan?mode=x ICAP/1.0\r\nHost: 127.0.0.1:") {
			t.Errorf("OPTIONS are asked for by %q, %v", head, err)
		}
		_, _ = io.WriteString(c, "ICAP/1.0 200 OK\r\n"+strings.ReplaceAll(fields, "\n", "\r\n")+"\r\nEncapsulated: null-body=0\r\n\r\n")
		return true
	}
}

// whole reads all of a file, past a preview where there is one, and answers.
func whole(answer func(a ask) string) script {
	return func(t *testing.T, c net.Conn, in *bufio.Reader) bool {
		a, err := readAsk(t, in)
		if err != nil {
			return false
		}
		if strings.Contains(a.head, "\r\nPreview: ") && !a.inside {
			_, _ = io.WriteString(c, "ICAP/1.0 100 Continue\r\n\r\n")
			rest, _, err := readChunks(in)
			if err != nil {
				return false
			}
			a.body = append(a.body, rest...)
		}
		_, err = io.WriteString(c, answer(a))
		return err == nil
	}
}

// first answers to what came first, be it a preview or all.
func first(answer string) script {
	return func(t *testing.T, c net.Conn, in *bufio.Reader) bool {
		if _, err := readAsk(t, in); err != nil {
			return false
		}
		_, err := io.WriteString(c, answer)
		return err == nil
	}
}

func always(answer string) func(ask) string { return func(ask) string { return answer } }

// response encloses an HTTP response.
func response(fields, head, body, trailer string) string {
	chunks := ""
	for i := 0; i < len(body); i += 1000 {
		part := body[i:min(i+1000, len(body))]
		chunks += fmt.Sprintf("%x;name=value\r\n%s\r\n", len(part), part)
	}
	return fmt.Sprintf("ICAP/1.0 200 OK\r\n%sEncapsulated: res-hdr=0, res-body=%d\r\n\r\n%s%s0\r\n%s\r\n", fields, len(head), head, chunks, trailer)
}

const (
	ok      = "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n\r\n"
	blocked = "HTTP/1.1 403 Forbidden\r\nContent-Type: text/html\r\n\r\n"
	able    = "Methods: RESPMOD, REQMOD\nISTag: \"a-1\"\nAllow: 204\nOptions-TTL: 600"
)

// RFC 3507 §4.5, §4.6, X3: what each answer makes of a file, within the preview, behind it and without one.
func TestVerdictIsWhatTheServiceSays(t *testing.T) {
	file := strings.Repeat("0123456789", 500)
	echo := func(a ask) string { return response("", ok, string(a.body), "Checksum: 7\r\nX-More: x\r\n") }
	for _, c := range []struct {
		name    string
		options string
		answer  script
		file    string
		finding string
		fails   string
	}{
		{"204 to the preview", able + "\nPreview: 100", first("ICAP/1.0 204 No Content\r\n\r\n"), file, "", ""},
		{"204 behind the preview", able + "\nPreview: 100", whole(always("ICAP/1.0 204 No Content\r\nISTag: \"a-2\"\r\n\r\n")), file, "", ""},
		{"204 without a preview", able, whole(always("ICAP/1.0 204 No Content\r\n\r\n")), file, "", ""},
		{"204 to all in the preview", able + "\nPreview: 5000", whole(always("ICAP/1.0 204 No Content\r\n\r\n")), file, "", ""},
		{"204 to an empty file", able + "\nPreview: 0", whole(always("ICAP/1.0 204 No Content\r\n\r\n")), "", "", ""},
		{"the same comes back", able, whole(echo), file, "", ""},
		{"the same comes back, behind a preview", able + "\nPreview: 4999", whole(echo), file, "", ""},
		{"the same comes back, all in the preview", able + "\nPreview: 5000", whole(echo), file, "", ""},
		{"nothing comes back of nothing", able, whole(echo), "", "", ""},
		{"another file comes back", able, whole(func(a ask) string { return response("", ok, string(a.body[1:])+"0", "") }), file, "would change it", ""},
		{"a shorter file comes back", able, whole(func(a ask) string { return response("", ok, string(a.body[1:]), "") }), file, "would change it", ""},
		{"more comes back than was seen", able + "\nPreview: 100", first(response("", ok, file, "")), file, "would change it", ""},
		{"a page instead of it", able, whole(always(response("", blocked, "<html>no</html>", ""))), file, "answer 403", ""},
		{"a page instead of it, to the preview", able + "\nPreview: 10", first(response("", blocked, "<html>no</html>", "")), file, "answer 403", ""},
		{"a threat", able, whole(always(response("X-Infection-Found: Type=0; Resolution=2; Threat=EICAR\x07-Test;\r\n", blocked, "no", ""))), file, "EICAR-Test", ""},
		{"a threat in a file that comes back", able, whole(func(a ask) string { return response("X-Virus-ID: EICAR\r\n", ok, string(a.body), "") }), file, "EICAR", ""},
		{"a threat with 204", able, whole(always("ICAP/1.0 204 No Content\r\nX-Virus-ID: EICAR\r\n\r\n")), file, "EICAR", ""},
		{"a threat in several lines", able, whole(always(response("X-Violations-Found: 1\r\n\tfile.exe\r\n\tWorm.A\r\n\t0\r\n\t2\r\n", blocked, "no", ""))), file, "1 file.exe Worm.A 0 2", ""},
		{"by request", "Methods: REQMOD", whole(func(a ask) string {
			if !strings.HasPrefix(a.head, "REQMOD ") || !strings.Contains(a.head, "\r\n\r\nPUT /file HTTP/1.1\r\n") {
				return "ICAP/1.0 400 Bad\r\n\r\n"
			}
			return fmt.Sprintf("ICAP/1.0 200 OK\r\nEncapsulated: req-hdr=0, req-body=22\r\n\r\nPUT /file HTTP/1.1\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(a.body), a.body)
		}), file, "", ""},
		{"by request, blocked", "Methods: REQMOD", whole(always(response("", blocked, "no", ""))), file, "answer 403", ""},
		{"no such service", able, whole(always("ICAP/1.0 404 Service not found\r\nEncapsulated: null-body=0\r\n\r\n")), file, "", "no such service"},
		{"overloaded", able, whole(always("ICAP/1.0 503 Overloaded\r\n\r\n")), file, "", "503"},
		{"failed, to the preview", able + "\nPreview: 10", first("ICAP/1.0 500 Server error\r\n\r\n"), file, "", "the service failed"},
		{"continue after all", able + "\nPreview: 5000", whole(always("ICAP/1.0 100 Continue\r\n\r\n")), file, "", "nothing is held back"},
		{"continue without a preview", able, whole(always("ICAP/1.0 100 Continue\r\n\r\n")), file, "", ""},
		{"nonsense", able, whole(always("HTTP/1.1 200 OK\r\n\r\n")), file, "", "can't be understood"},
		{"200 that encloses nothing", able, whole(always("ICAP/1.0 200 OK\r\n\r\n")), file, "", "neither a request nor a response"},
		{"it hangs up", able, whole(always("")), file, "", "EOF"},
		{"cut off", able, whole(always(response("", ok, file, "")[:4000])), file, "", "EOF"},
		{"neither method", "Methods: FILEMOD", first(""), file, "", "neither RESPMOD nor REQMOD"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			answer := c.answer
			if c.fails != "" || c.name == "continue without a preview" {
				answer = func(t *testing.T, conn net.Conn, in *bufio.Reader) bool {
					c.answer(t, conn, in)
					return false
				}
			}
			s := serve(t, options(c.options), answer)
			finding, err := s.client(t).Scan(t.Context(), strings.NewReader(c.file))
			if !strings.Contains(finding, c.finding) || c.finding == "" && finding != "" {
				t.Errorf("finding %q, want %q", finding, c.finding)
			}
			fails := c.fails != "" || c.name == "continue without a preview"
			if (err != nil) != fails || err != nil && !strings.Contains(err.Error(), c.fails) {
				t.Errorf("error %v, want %q", err, c.fails)
			}
		})
	}
}

// RFC 3507 §4.2, §4.8.2: the service gets the whole file as the body of a response, once, and is not asked anew what it can.
func TestServiceGetsTheWholeFile(t *testing.T) {
	t.Parallel()
	var got []ask
	keep := whole(func(a ask) string { got = append(got, a); return "ICAP/1.0 204 No Content\r\n\r\n" })
	s := serve(t, options(able+"\nPreview: 1024"), keep)
	c := s.client(t)
	sizes := []int{0, 1, 1023, 1024, 1025, 64 << 10, 64<<10 + 1, 3 << 20}
	for _, n := range sizes {
		if finding, err := c.Scan(t.Context(), bytes.NewReader(pattern(n))); finding != "" || err != nil {
			t.Fatalf("%d octets: %q, %v", n, finding, err)
		}
	}
	for i, n := range sizes {
		a := got[i]
		if !bytes.Equal(a.body, pattern(n)) || a.inside != (n <= 1024) {
			t.Errorf("%d octets: %d came, ieof %v", n, len(a.body), a.inside)
		}
		for _, part := range []string{"RESPMOD icap://", "/scan?mode=x ICAP/1.0\r\nHost: ", "\r\nAllow: 204\r\n", "\r\nPreview: 1024\r\n", "\r\n\r\nGET /file HTTP/1.1\r\n", "\r\n\r\nHTTP/1.1 200 OK\r\n", fmt.Sprintf("\r\nContent-Length: %d\r\n\r\n", n)} {
			if !strings.Contains(a.head, part) {
				t.Errorf("the request lacks %q: %q", part, a.head)
			}
		}
	}
	if n := s.connections(); n != 1 {
		t.Errorf("%d connections for %d files, want 1", n, len(sizes))
	}
	if asked := strings.Count(strings.Join(s.asked, ""), "OPTIONS"); asked != 1 {
		t.Errorf("OPTIONS were asked for %d times", asked)
	}
}

func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i * 7 >> 3)
	}
	return b
}

// A connection that the service has closed between two files costs no verdict; what can't be read twice isn't risked on one.
func TestConnectionThatWasClosedIsNoFailure(t *testing.T) {
	t.Parallel()
	hangUp := func(t *testing.T, c net.Conn, in *bufio.Reader) bool {
		first("ICAP/1.0 204 No Content\r\n\r\n")(t, c, in)
		return false
	}
	s := serve(t, options(able+"\nPreview: 10"), hangUp)
	c := s.client(t)
	for i := range 4 {
		if finding, err := c.Scan(t.Context(), bytes.NewReader(pattern(1000))); finding != "" || err != nil {
			t.Errorf("file %d: %q, %v", i, finding, err)
		}
		if finding, err := c.Scan(t.Context(), io.LimitReader(bytes.NewReader(pattern(1000)), 1000)); finding != "" || err != nil {
			t.Errorf("stream %d: %q, %v", i, finding, err)
		}
	}
}

// A service that says Connection: close is not spoken to again on it.
func TestClosingServiceIsNotHeldOn(t *testing.T) {
	t.Parallel()
	s := serve(t, options(able), whole(always("ICAP/1.0 204 No Content\r\nConnection: close\r\n\r\n")))
	c := s.client(t)
	for range 3 {
		if finding, err := c.Scan(t.Context(), bytes.NewReader(pattern(1000))); finding != "" || err != nil {
			t.Errorf("%q, %v", finding, err)
		}
	}
	if n := s.connections(); n != 3 {
		t.Errorf("%d connections, want one a file; the first had the OPTIONS", n)
	}
}

// A service that sends a file back while it comes, and one that answers long before the end, are no deadlock.
func TestAnswersBeforeTheEndAreHeard(t *testing.T) {
	t.Parallel()
	size := 16 << 20
	mirror := func(t *testing.T, c net.Conn, in *bufio.Reader) bool {
		head, err := readHead(in)
		if err != nil {
			return false
		}
		_, spans, _ := strings.Cut(head, "res-body=")
		n, _ := strconv.Atoi(strings.TrimSpace(spans))
		_, _ = io.CopyN(io.Discard, in, int64(n))
		_, _ = fmt.Fprintf(c, "ICAP/1.0 200 OK\r\nEncapsulated: res-hdr=0, res-body=%d\r\n\r\n%s", len(ok), ok)
		_, err = io.Copy(c, in) // chunks, as they come
		return err == nil
	}
	s := serve(t, options(able), mirror)
	if finding, err := s.client(t).Scan(t.Context(), &once{Reader: bytes.NewReader(pattern(size))}); finding != "" || err != nil {
		t.Errorf("mirror: %q, %v", finding, err)
	}
	early := func(t *testing.T, c net.Conn, in *bufio.Reader) bool {
		_, _ = readHead(in)
		_, _ = io.WriteString(c, response("X-Virus-ID: EICAR\r\n", blocked, "no", ""))
		_, _ = in.ReadByte() // and reads no more until the client goes
		_, _ = in.ReadByte()
		<-t.Context().Done()
		return false
	}
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	begun := time.Now()
	s = serve(t, options(able), early)
	if finding, err := s.client(t).Scan(ctx, bytes.NewReader(pattern(size))); finding != "EICAR" || err != nil {
		t.Errorf("early: %q, %v", finding, err)
	}
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("the verdict took %v", took)
	}
}

// once is a reader that is nothing else.
type once struct{ io.Reader }

// Half a file is never shown as one: what can't be read ends the scan, and the service sees no end.
func TestUnreadableFileIsNotHalfScanned(t *testing.T) {
	t.Parallel()
	ended := make(chan bool, 1)
	watch := func(t *testing.T, c net.Conn, in *bufio.Reader) bool {
		_, err := readAsk(t, in)
		ended <- err == nil
		return false
	}
	s := serve(t, options(able), watch)
	disk, begun := errors.New("disk"), time.Now()
	body := io.MultiReader(bytes.NewReader(pattern(100_000)), iotest.ErrReader(disk))
	if finding, err := s.client(t).Scan(t.Context(), body); finding != "" || !errors.Is(err, disk) {
		t.Errorf("%q, %v", finding, err)
	}
	if <-ended {
		t.Error("the service saw the end of a file")
	}
	if took := time.Since(begun); took > 15*time.Second { // the service would wait for longer
		t.Errorf("it took %v", took)
	}
}

// A scan ends with its context, whatever the service does.
func TestScanEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	silent := func(t *testing.T, _ net.Conn, in *bufio.Reader) bool {
		_, _ = readAsk(t, in)
		cancel()
		<-t.Context().Done()
		return false
	}
	s := serve(t, options(able+"\nPreview: 10"), silent)
	if finding, err := s.client(t).Scan(ctx, bytes.NewReader(pattern(1000))); finding != "" || err == nil {
		t.Errorf("%q, %v", finding, err)
	}
}

// icaps:// is TLS from the first byte, to a service whose name its certificate has; without that nothing is said.
func TestServiceBehindTLSIsVerified(t *testing.T) {
	t.Parallel()
	certified := httptest.NewTLSServer(nil) // has a certificate for example.com and 127.0.0.1, and who vouches for it
	defer certified.Close()
	roots := x509.NewCertPool()
	roots.AddCert(certified.Certificate())
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: certified.TLS.Certificates})
	if err != nil {
		t.Fatal(err)
	}
	secure := func(t *testing.T, c net.Conn, in *bufio.Reader) bool {
		head, err := readHead(in)
		if err != nil || !strings.HasPrefix(head, "OPTIONS icaps://127.0.0.1:") {
			t.Errorf("OPTIONS are asked for by %q, %v", head, err)
		}
		_, _ = io.WriteString(c, "ICAP/1.0 200 OK\r\nMethods: RESPMOD\r\nEncapsulated: null-body=0\r\n\r\n")
		return true
	}
	s := serveOn(t, l, secure, whole(always("ICAP/1.0 204 No Content\r\n\r\n")))
	address := "icaps://" + l.Addr().String() + "/scan"
	stranger, err := icap.New(address, nil)
	if err != nil {
		t.Fatal(err)
	}
	var unknown x509.UnknownAuthorityError
	if _, err := stranger.Scan(t.Context(), strings.NewReader("x")); !errors.As(err, &unknown) || len(s.asked) != 0 {
		t.Errorf("a service that nobody vouches for: %v", err)
	}
	c, err := icap.New(address, &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if finding, err := c.Scan(t.Context(), bytes.NewReader(pattern(100_000))); finding != "" || err != nil {
		t.Errorf("%q, %v", finding, err)
	}
}

// The address of a service is checked before it is used.
func TestAddressIsChecked(t *testing.T) {
	t.Parallel()
	for address, fine := range map[string]bool{
		"icap://127.0.0.1:1344/avscan": true, "icap://scanner.example/avscan?x=1": true, "icaps://[::1]/avscan": true,
		"http://127.0.0.1/avscan": false, "icap://127.0.0.1": false, "icap://127.0.0.1/": false, "icap:///avscan": false, "icap://u:p@h/avscan": false, "icap://h/a\x00": false,
	} {
		if _, err := icap.New(address, nil); (err == nil) != fine {
			t.Errorf("New(%q) = %v", address, err)
		}
	}
}

// RFC 3507 §4.3.1: a trailer belongs to its answer, and the next answer on the connection begins behind it.
func TestTrailerLeavesTheConnectionWhole(t *testing.T) {
	t.Parallel()
	s := serve(t, options(able), whole(func(a ask) string { return response("", ok, string(a.body), "Checksum: 7\r\nX-More: x\r\n") }))
	c := s.client(t)
	for range 3 {
		if finding, err := c.Scan(t.Context(), bytes.NewReader(pattern(5000))); finding != "" || err != nil {
			t.Errorf("%q, %v", finding, err)
		}
	}
	if n := s.connections(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
}
