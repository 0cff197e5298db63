package icap

import (
	"bufio"
	"bytes"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
)

// FuzzResponse reads answers of a service that may send anything: no panic, a code of three digits, a header within its limit, and the
// same answer however the bytes come.
func FuzzResponse(f *testing.F) {
	for _, s := range []string{
		"ICAP/1.0 204 No Content\r\nISTag: \"x\"\r\n\r\n",
		"ICAP/1.0 100 Continue\r\n\r\n",
		"ICAP/1.0 404 Service not found\nEncapsulated: null-body=0\n\n",
		"ICAP/1.0 200 OK\r\nMethods: RESPMOD, REQMOD\r\nPreview: 1024\r\nAllow: 204, 206\r\nOptions-TTL: 60\r\nEncapsulated: null-body=0\r\n\r\n",
		"ICAP/1.0 200 OK\r\nEncapsulated: opt-body=0\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
		"ICAP/1.0 200 OK\r\nX-Infection-Found: Type=0; Threat=E;\r\nEncapsulated: res-hdr=0, res-body=26\r\n\r\nHTTP/1.1 403 Forbidden\r\n\r\n2;a=b\r\nno\r\n0\r\nTrailer: 1\r\n\r\n",
		"ICAP/1.0 200 OK\r\nEncapsulated: req-hdr=0, res-hdr=18, null-body=37\r\n\r\nGET / HTTP/1.1\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
		"ICAP/1.0 200 OK\r\nX-Violations-Found: 1\r\n\tfile\r\n\tWorm\r\nConnection: close\r\nEncapsulated: req-hdr=0, req-body=18\r\n\r\nPUT / HTTP/1.1\r\n\r\n0\r\n\r\n",
		"ICAP/1.0 200 OK\r\nEncapsulated: res-hdr=0, res-hdr=99999999\r\n\r\n",
		"ICAP/1.0 200 OK\r\nEncapsulated: res-body=0, res-hdr=5\r\n\r\n",
		"ICAP/1.0 200 OK\r\nA: " + strings.Repeat("b", maxLine) + "\r\n\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		read := func(r io.Reader) (*response, string, error, error) {
			res, err := readResponse(bufio.NewReaderSize(r, maxLine))
			if err != nil {
				return nil, "", err, nil
			}
			var body bytes.Buffer
			ended := res.copyTo(&body)
			return res, body.String(), nil, ended
		}
		res, body, err, ended := read(bytes.NewReader(b))
		slow, slowBody, slowErr, slowEnded := read(iotest.OneByteReader(bytes.NewReader(b)))
		if (err == nil) != (slowErr == nil) || (ended == nil) != (slowEnded == nil) || ended == nil && body != slowBody {
			t.Fatalf("at once: %v, %v, %q; byte by byte: %v, %v, %q", err, ended, body, slowErr, slowEnded, slowBody)
		}
		if err != nil {
			return
		}
		if res.code != slow.code || !reflect.DeepEqual(res.header, slow.header) || res.status != slow.status || res.asked != slow.asked || res.body != slow.body {
			t.Fatalf("at once %+v, byte by byte %+v", res, slow)
		}
		total := 0
		for name, value := range res.header {
			if total += len(name) + len(value); name != strings.ToLower(name) || name == "" {
				t.Fatalf("field %q", name)
			}
		}
		if res.code < 100 || res.code > 999 || total > 2*maxHead || len(body) > len(b) {
			t.Fatalf("code %d, header of %d octets, body of %d in an answer of %d", res.code, total, len(body), len(b))
		}
		if finding, sure, err := res.verdict(); finding != "" && (!sure || err != nil || len(finding) > 200) || res.code >= 300 && finding == "" && err == nil {
			t.Fatalf("code %d: %q, %v, %v", res.code, finding, sure, err)
		}
		if s, ttl := serviceOf(res.header); ttl < 0 || ttl > maxTTL || s.Preview < -1 || s.Preview > maxPreview {
			t.Fatalf("service %+v for %v", s, ttl)
		}
	})
}
