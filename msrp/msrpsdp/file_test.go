package msrpsdp_test

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"latchkey/msrp/msrpsdp"
)

const sha1Text = "hash:sha-1:72:24:5F:E8:65:3D:DA:F3:71:36:2F:86:D4:71:91:3E:E4:A2:CE:2E"

var sha1Sum = msrpsdp.Hash{Algorithm: "sha-1", Sum: []byte{0x72, 0x24, 0x5f, 0xe8, 0x65, 0x3d, 0xda, 0xf3, 0x71, 0x36, 0x2f, 0x86, 0xd4, 0x71, 0x91, 0x3e, 0xe4, 0xa2, 0xce, 0x2e}}

func picture() msrpsdp.File {
	return msrpsdp.File{
		Name: "My cool picture.jpg", Type: "image/jpeg", Size: 32349, Hashes: []msrpsdp.Hash{sha1Sum},
		TransferID: "vBnG916bdberum2fFEABR1FR3ExZMUrd", Disposition: "attachment",
		Created: time.Date(2006, 5, 15, 12, 1, 31, 0, time.UTC), Icon: "id2@alicepc.example.com", Range: msrpsdp.Range{Start: 1, End: 32349},
	}
}

// files are the a=file-… lines of the first medium, sorted as written.
func files(t *testing.T, description []byte) string {
	t.Helper()
	var all []string
	for l := range strings.SplitSeq(string(description), "\r\n") {
		if strings.HasPrefix(l, "a=file-") {
			all = append(all, strings.TrimPrefix(l, "a=file-"))
		}
	}
	return strings.Join(all, "\n")
}

// B3.12: which lines an offer and its answer have, by who sends the file (RFC 5547 §8.2, §8.3). The left column is what
// each side knows, the right one what it says.
func TestFilesAreOfferedAndAnswered(t *testing.T) {
	const (
		selector = `selector:name:"My cool picture.jpg" type:image/jpeg size:32349 ` + sha1Text
		id       = "\ntransfer-id:vBnG916bdberum2fFEABR1FR3ExZMUrd"
		rest     = "\ndisposition:attachment\ndate:creation:\"Mon, 15 May 2006 12:01:31 +0000\"\nicon:cid:id2@alicepc.example.com"
		part     = "\nrange:1-32349"
	)
	hash := msrpsdp.File{Hashes: []msrpsdp.Hash{sha1Sum}, TransferID: "wanted", Range: msrpsdp.Range{Start: 100}}
	ours := picture()
	ours.TransferID = ""
	sized := msrpsdp.File{Size: 7, TransferID: "t1"}
	for _, c := range []struct {
		name                 string
		direction            string
		offered, own         msrpsdp.File
		offer, answer, wants string
	}{
		{"push of all", "sendonly", picture(), msrpsdp.File{}, selector + id + rest + part, selector + id + part, "recvonly"},
		{"push of a size", "sendonly", sized, msrpsdp.File{}, "selector:size:7\ntransfer-id:t1", "selector:size:7\ntransfer-id:t1", "recvonly"},
		{"push that is chosen by its id", "sendonly", sized, msrpsdp.File{TransferID: "t1"}, "selector:size:7\ntransfer-id:t1", "selector:size:7\ntransfer-id:t1", "recvonly"},
		{"pull by hash, from octet 100", "recvonly", hash, ours, "selector:" + sha1Text + "\ntransfer-id:wanted\nrange:100-*", "selector:type:image/jpeg " + sha1Text + "\ntransfer-id:wanted\ndisposition:attachment\nicon:cid:id2@alicepc.example.com\nrange:100-*", "sendonly"},
		{"pull by name, nothing else of the offerer's", "recvonly", msrpsdp.File{Name: "x", TransferID: "t1", Disposition: "render", Icon: "a@b", Created: time.Now()}, msrpsdp.File{Name: "x"}, "selector:name:\"x\"\ntransfer-id:t1", "selector:name:\"x\"\ntransfer-id:t1", "sendonly"},
	} {
		l := us()
		l.Direction, l.File = c.direction, &c.offered
		o, err := msrpsdp.Offer(l)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if got := files(t, o); got != c.offer {
			t.Errorf("%s: the offer says\n%s\nwant\n%s", c.name, got, c.offer)
		}
		if m, err := msrpsdp.Parse(o); err != nil || m.Direction != c.direction || m.File.TransferID != c.offered.TransferID {
			t.Errorf("%s: the offer is read as %+v, %v", c.name, m, err)
		}
		l = us()
		l.URI.SessionID, l.File = "theirs", &c.own
		a, _, err := msrpsdp.Answer(o, l, "")
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if got := files(t, a); got != c.answer {
			t.Errorf("%s: the answer says\n%s\nwant\n%s", c.name, got, c.answer)
		}
		if _, m, err := msrpsdp.Conclude(o, a); err != nil || m.Direction != c.wants || m.File == nil {
			t.Errorf("%s: concluded as %+v, %v", c.name, m, err)
		}
	}
}

// RFC 5547 §8.2: what an offer of a file must not lack.
func TestIncompleteFilesAreNotOffered(t *testing.T) {
	for name, c := range map[string]struct {
		direction string
		spoil     func(*msrpsdp.File)
	}{
		"no direction":                {"", func(*msrpsdp.File) {}},
		"both directions":             {"sendrecv", func(*msrpsdp.File) {}},
		"no transfer id":              {"sendonly", func(f *msrpsdp.File) { f.TransferID = "" }},
		"transfer id is no token":     {"sendonly", func(f *msrpsdp.File) { f.TransferID = "a b" }},
		"transfer id breaks its line": {"sendonly", func(f *msrpsdp.File) { f.TransferID = "a\r\na=x" }},
		"push of a name alone":        {"sendonly", func(f *msrpsdp.File) { *f = msrpsdp.File{Name: "x", TransferID: "t"} }},
		"pull of nothing":             {"recvonly", func(f *msrpsdp.File) { *f = msrpsdp.File{TransferID: "t"} }},
		"hash without SHA-1":          {"sendonly", func(f *msrpsdp.File) { f.Hashes = []msrpsdp.Hash{{Algorithm: "sha-256", Sum: make([]byte, 32)}} }},
		"hash of another length":      {"sendonly", func(f *msrpsdp.File) { f.Hashes = []msrpsdp.Hash{{Algorithm: "sha-1", Sum: make([]byte, 19)}} }},
		"hash nobody knows": {"sendonly", func(f *msrpsdp.File) {
			f.Hashes = append(f.Hashes, msrpsdp.Hash{Algorithm: "md4", Sum: make([]byte, 16)})
		}},
		"no type":                      {"sendonly", func(f *msrpsdp.File) { f.Type = "jpeg" }},
		"type breaks its line":         {"sendonly", func(f *msrpsdp.File) { f.Type = "image/jpeg\r\na=x" }},
		"name is no UTF-8":             {"sendonly", func(f *msrpsdp.File) { f.Name = "\xff" }},
		"disposition is no token":      {"sendonly", func(f *msrpsdp.File) { f.Disposition = "a;b" }},
		"icon is no content id":        {"sendonly", func(f *msrpsdp.File) { f.Icon = "a\r\na=x" }},
		"date before RFC 5322's":       {"sendonly", func(f *msrpsdp.File) { f.Read = time.Date(1899, 1, 1, 0, 0, 0, 0, time.UTC) }},
		"range behind the file":        {"sendonly", func(f *msrpsdp.File) { f.Range = msrpsdp.Range{Start: 32350} }},
		"range that ends behind it":    {"sendonly", func(f *msrpsdp.File) { f.Range = msrpsdp.Range{Start: 1, End: 32350} }},
		"range that ends before it is": {"sendonly", func(f *msrpsdp.File) { f.Range = msrpsdp.Range{Start: 5, End: 4} }},
		"range without a start":        {"sendonly", func(f *msrpsdp.File) { f.Range = msrpsdp.Range{End: 4} }},
	} {
		l, f := us(), picture()
		c.spoil(&f)
		l.Direction, l.File = c.direction, &f
		if got, err := msrpsdp.Offer(l); err == nil {
			t.Errorf("%s is offered:\n%s", name, got)
		}
	}
}

// B3.12: what is refused, with 488 where the file is alone.
func TestFilesThatCantBeTakenAreNotAcceptable(t *testing.T) {
	push := func(attributes ...string) []byte {
		return offer(message("7000", append([]string{types, "a=setup:active", path, "a=sendonly", "a=file-transfer-id:t1"}, attributes...)...)...)
	}
	pull := bytes.Replace(push("a=file-selector:"+sha1Text), []byte("a=sendonly"), []byte("a=recvonly"), 1)
	other := picture()
	other.Hashes = []msrpsdp.Hash{{Algorithm: "sha-1", Sum: make([]byte, 20)}}
	for name, c := range map[string]struct {
		offer []byte
		file  *msrpsdp.File
		taken bool
	}{
		"a file, for a chat":                      {push("a=file-selector:size:7"), nil, false},
		"a chat, for a file":                      {offer(message("7000", types, "a=setup:active", path)...), &msrpsdp.File{}, false},
		"a chat of somebody who can files (§8.5)": {push("a=file-selector"), nil, true},
		"within max-size":                         {push("a=file-selector:size:5000"), &msrpsdp.File{}, true},
		"larger than max-size (§8.7)":             {push("a=file-selector:size:5001"), &msrpsdp.File{}, false},
		"a part within max-size":                  {push("a=file-selector:size:9000", "a=file-range:4001-9000"), &msrpsdp.File{}, true},
		"a part larger than max-size":             {push("a=file-selector:size:9000", "a=file-range:4000-9000"), &msrpsdp.File{}, false},
		"the rest, larger than max-size":          {push("a=file-selector:size:9000", "a=file-range:4000-*"), &msrpsdp.File{}, false},
		"a part behind the file":                  {push("a=file-selector:size:7", "a=file-range:8-*"), &msrpsdp.File{}, false},
		"another transfer":                        {push("a=file-selector:size:7"), &msrpsdp.File{TransferID: "t2"}, false},
		"pull of a file we have":                  {pull, &msrpsdp.File{Type: "image/jpeg", Hashes: []msrpsdp.Hash{sha1Sum}}, true},
		"pull of another one":                     {pull, &other, false},
		"pull, nothing chosen":                    {pull, &msrpsdp.File{}, false},
	} {
		l := us()
		l.File, l.MaxSize = c.file, 5000
		a, _, err := msrpsdp.Answer(c.offer, l, "")
		if (err == nil) != c.taken || err != nil && !errors.Is(err, msrpsdp.ErrNotAcceptable) {
			t.Errorf("%s: %v\n%s", name, err, a)
		}
	}
}

// RFC 5547 §8.3: beside a medium that is taken, a file is refused with port 0, selector and id as they came.
func TestRefusedFileKeepsSelectorAndID(t *testing.T) {
	file := message("7000", types, path, "a=sendonly", `a=file-selector:name:"a%2Fb" SIZE:7  x:y`, "a=file-transfer-id:t1", "a=file-disposition:render", "a=file-range:1-7")
	chat := message("7000", types, "a=setup:active", path)
	answer, _, err := msrpsdp.Answer(offer(append(chat, file...)...), us(), "")
	if err != nil {
		t.Fatal(err)
	}
	_, refused, _ := strings.Cut(string(answer), "m=message 0 TCP/MSRP *\r\n")
	if want := "a=file-selector:name:\"a%2Fb\" SIZE:7  x:y\r\na=file-transfer-id:t1\r\n"; refused != want {
		t.Errorf("the refused medium says\n%s\nwant\n%s\nof\n%s", refused, want, answer)
	}
	// The other way round, the file alone is taken.
	l := us()
	l.File = &msrpsdp.File{}
	answer, _, err = msrpsdp.Answer(offer(append(chat, file...)...), l, "")
	if err != nil || !strings.Contains(string(answer), "m=message 0 TCP/MSRP *\r\nm=message 2855 TCP/MSRP *\r\n") {
		t.Errorf("%v\n%s", err, answer)
	}
}

// RFC 5547 §8.3.1, §8.3.2: the same file, and the same part of it.
func TestAnswersAboutAnotherFileAreNotAcceptable(t *testing.T) {
	for name, c := range map[string]struct {
		lines []string
		taken bool
	}{
		"the same":             {[]string{"a=file-selector:size:32349", "a=file-transfer-id:t1", "a=file-range:5-32349"}, true},
		"no RFC 5547":          {nil, true},
		"another size":         {[]string{"a=file-selector:size:32348", "a=file-range:5-32349"}, false},
		"another type":         {[]string{"a=file-selector:type:image/png", "a=file-range:5-32349"}, false},
		"another hash":         {[]string{"a=file-selector:" + strings.Replace(sha1Text, "72", "73", 1), "a=file-range:5-32349"}, false},
		"all of it":            {[]string{"a=file-selector:size:32349"}, false},
		"another part":         {[]string{"a=file-selector:size:32349", "a=file-range:6-32349"}, false},
		"type with parameters": {[]string{`a=file-selector:type:image/jpeg;x="y"`, "a=file-range:5-32349"}, true},
	} {
		l, f := us(), picture()
		f.Range.Start = 5
		l.Direction, l.File = "sendonly", &f
		o, err := msrpsdp.Offer(l)
		if err != nil {
			t.Fatal(err)
		}
		_, m, err := msrpsdp.Conclude(o, offer(message("7000", append([]string{types, "a=setup:active", path, "a=recvonly"}, c.lines...)...)...))
		if (err == nil) != c.taken || err != nil && !errors.Is(err, msrpsdp.ErrNotAcceptable) {
			t.Errorf("%s: %+v, %v", name, m.File, err)
		}
	}
	// The whole file has several names.
	l, f := us(), picture()
	l.Direction, l.File = "sendonly", &f // 1-32349
	o, _ := msrpsdp.Offer(l)
	for _, r := range []string{"1-*", "1-32349"} {
		if _, _, err := msrpsdp.Conclude(o, offer(message("7000", types, "a=setup:active", path, "a=file-selector:size:32349", "a=file-range:"+r)...)); err != nil {
			t.Errorf("%s: %v", r, err)
		}
	}
}

// B3.12, S8: each grammar branch, and what sloppy peers make of it.
func TestFileAttributesAreRead(t *testing.T) {
	long := strings.Repeat("x", 1025)
	for _, c := range []struct {
		line string
		want msrpsdp.File
	}{
		{"file-selector", msrpsdp.File{}},
		{`file-selector:name:"a b" type:text/plain;charset="utf-8";x="%22" size:9`, msrpsdp.File{Name: "a b", Type: `text/plain; charset=utf-8; x="\""`, Size: 9}},
		{`file-selector:hash:sha-256:` + strings.Repeat("0A:", 31) + "0a " + sha1Text, msrpsdp.File{Hashes: []msrpsdp.Hash{{Algorithm: "sha-256", Sum: bytes.Repeat([]byte{10}, 32)}, sha1Sum}}},
		{`file-selector:name:"%22%0d%0A%2F%e2%98%83 ☃"`, msrpsdp.File{Name: "\"\r\n/☃ ☃"}},
		{`file-selector:name:"100%"`, msrpsdp.File{Name: "100%"}},
		{`file-selector:name:"%zz"`, msrpsdp.File{Name: "%zz"}},
		{`file-selector:name:"%ff"`, msrpsdp.File{Name: "\uFFFD"}},
		{`file-selector:name:"a\"b.jpg" size:1`, msrpsdp.File{Name: `a"b.jpg`, Size: 1}},
		{`file-selector:name:"a"b.jpg" size:1`, msrpsdp.File{Name: `a"b.jpg`, Size: 1}},
		{`file-selector:name:"dir\" size:1`, msrpsdp.File{Name: `dir\`, Size: 1}},
		{`file-selector:name:"open size:1`, msrpsdp.File{Name: "open size:1"}},
		{`file-selector:name:plain.jpg size:1`, msrpsdp.File{Name: "plain.jpg", Size: 1}},
		{`file-selector:name:"" size:1`, msrpsdp.File{Size: 1}},
		{`file-selector:name:"` + long + `" size:1`, msrpsdp.File{Size: 1}},
		{`file-selector:NAME:"a" Type:IMAGE/JPEG`, msrpsdp.File{Name: "a", Type: "image/jpeg"}},
		{`file-selector:name:"a" name:"b" size:1 size:2`, msrpsdp.File{Name: "a", Size: 1}},
		{`file-selector:nothing at:"all x" size:3`, msrpsdp.File{Size: 3}},
		{`file-selector:size:0`, msrpsdp.File{}}, {`file-selector:size:-1`, msrpsdp.File{}}, {`file-selector:size:99999999999999999999`, msrpsdp.File{}},
		{`file-selector:type:jpeg`, msrpsdp.File{}}, {`file-selector:type:a/b/c`, msrpsdp.File{}}, {`file-selector:type:a/b;c`, msrpsdp.File{Type: "a/b"}},
		{`file-selector:type:text/plain;charset=utf-8;a*0="x";b=""`, msrpsdp.File{Type: "text/plain; charset=utf-8"}},
		{`file-selector:hash:sha-1:72:24`, msrpsdp.File{}}, {`file-selector:hash:md5:` + strings.Repeat("00", 16), msrpsdp.File{}}, {`file-selector:hash:sha-1:xx`, msrpsdp.File{}},
		{`file-selector:hash:SHA-1:72245fe8653ddaf371362f86d471913ee4a2ce2e`, msrpsdp.File{Hashes: []msrpsdp.Hash{sha1Sum}}},
		{`file-transfer-id:abc`, msrpsdp.File{TransferID: "abc"}}, {`file-transfer-id:a b`, msrpsdp.File{}},
		{`file-disposition:Render`, msrpsdp.File{Disposition: "render"}}, {`file-disposition:"x"`, msrpsdp.File{}},
		{`file-date:creation:"Mon, 15 May 2006 15:01:31 +0300" modification:"Mon, 15 May 2006 12:01:32 GMT"  read:"soon"`, msrpsdp.File{Created: time.Date(2006, 5, 15, 12, 1, 31, 0, time.UTC), Modified: time.Date(2006, 5, 15, 12, 1, 32, 0, time.UTC)}},
		{`file-icon:cid:a%25b@c`, msrpsdp.File{Icon: "a%b@c"}}, {`file-icon:CID:a@c`, msrpsdp.File{Icon: "a@c"}}, {`file-icon:http://x/`, msrpsdp.File{}}, {`file-icon:cid:a%0d%0ab`, msrpsdp.File{}}, {`file-icon:cid:`, msrpsdp.File{}},
		{`file-range:1-*`, msrpsdp.File{Range: msrpsdp.Range{Start: 1}}}, {`file-range:5-9`, msrpsdp.File{Range: msrpsdp.Range{Start: 5, End: 9}}},
		{`file-range:0-9`, msrpsdp.File{}}, {`file-range:9-5`, msrpsdp.File{}}, {`file-range:5-0`, msrpsdp.File{}}, {`file-range:5`, msrpsdp.File{}}, {`file-range:*-5`, msrpsdp.File{}},
	} {
		lines := []string{types, "a=setup:active", path, "a=" + c.line}
		if !strings.HasPrefix(c.line, "file-selector") {
			lines = append(lines, "a=file-selector")
		}
		m, err := msrpsdp.Parse(offer(message("7000", lines...)...))
		if err != nil || m.File == nil || !reflect.DeepEqual(*m.File, c.want) {
			t.Errorf("%.100s is read as %+v, %v, want %+v", c.line, m.File, err, c.want)
		}
	}
	if m, err := msrpsdp.Parse(offer(message("7000", types, path, "a=file-transfer-id:x", "a=file-range:1-2")...)); err != nil || m.File != nil {
		t.Errorf("without a selector: %+v, %v", m.File, err)
	}
}

// S8: a name can't leave its quotes, its line, or the receiver's directory.
func TestFileNamesBreakOutOfNothing(t *testing.T) {
	for name, want := range map[string]struct{ wire, local string }{
		"a\" size:1":                      {`a%22 size%3A1`, "a_ size_1"},
		"a\r\na=setup:passive":            {`a%0D%0Aa=setup%3Apassive`, "a__a=setup_passive"},
		"../../etc/passwd":                {`..%2F..%2Fetc%2Fpasswd`, "_.._etc_passwd"},
		`C:\boot.ini`:                     {`C%3A%5Cboot.ini`, "C__boot.ini"},
		"100%25":                          {`100%2525`, "100%25"},
		"evil\u202egpj.exe":               {"evil\u202egpj.exe", "evilgpj.exe"},
		"\x00\x7f":                        {"%00%7F", "__"},
		" .hidden. ":                      {" .hidden. ", "hidden"},
		"..":                              {"..", "file"},
		"Übersicht ☃.pdf":                 {"Übersicht ☃.pdf", "Übersicht ☃.pdf"},
		strings.Repeat("ü", 200) + ".pdf": {strings.Repeat("ü", 200) + ".pdf", strings.Repeat("ü", 125) + ".pdf"},
	} {
		l := us()
		l.Direction, l.File = "sendonly", &msrpsdp.File{Name: name, Size: 1, TransferID: "t"}
		o, err := msrpsdp.Offer(l)
		if err != nil {
			t.Errorf("%q: %v", name, err)
			continue
		}
		if got, want := files(t, o), `selector:name:"`+want.wire+"\" size:1\ntransfer-id:t"; got != want {
			t.Errorf("%q is written as\n%s\nwant\n%s", name, got, want)
		}
		if m, err := msrpsdp.Parse(o); err != nil || m.File.Name != name || m.Setup != msrpsdp.ActPass {
			t.Errorf("%q comes back as %+v, %v", name, m.File, err)
		}
		if got := l.File.LocalName(); got != want.local {
			t.Errorf("LocalName of %q = %q, want %q", name, got, want.local)
		}
	}
}

// B3.12: size and hashes are compared when the file is there.
func TestReceivedFilesAreVerified(t *testing.T) {
	content := strings.Repeat("latchkey", 1000)
	sums, err := msrpsdp.Hashing(strings.NewReader(content))
	s1, s256 := sha1.Sum([]byte(content)), sha256.Sum256([]byte(content))
	if err != nil || len(sums) != 2 || !bytes.Equal(sums[0].Sum, s1[:]) || !bytes.Equal(sums[1].Sum, s256[:]) || sums[0].Algorithm != "sha-1" || sums[1].Algorithm != "sha-256" {
		t.Fatalf("Hashing = %v, %v", sums, err)
	}
	unknown := append([]msrpsdp.Hash{{Algorithm: "md5", Sum: []byte("x")}}, sums...)
	for name, c := range map[string]struct {
		file    msrpsdp.File
		content string
		right   bool
	}{
		"the same":             {msrpsdp.File{Size: 8000, Hashes: sums}, content, true},
		"nothing said":         {msrpsdp.File{}, content, true},
		"a hash nobody knows":  {msrpsdp.File{Hashes: unknown}, content, true},
		"one octet changed":    {msrpsdp.File{Size: 8000, Hashes: sums}, "L" + content[1:], false},
		"the same, SHA-1 only": {msrpsdp.File{Hashes: sums[:1]}, content + "x", false},
		"shorter":              {msrpsdp.File{Size: 8000}, content[1:], false},
		"beside another":       {msrpsdp.File{Hashes: unknown}, content + "x", false},
	} {
		v := c.file.Verifier()
		if _, err := io.Copy(v, io.LimitReader(strings.NewReader(c.content), 1<<20)); err != nil {
			t.Fatal(err)
		}
		if err := v.Err(); (err == nil) != c.right || err != nil && !errors.Is(err, msrpsdp.ErrFileDiffers) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTransferIDsAreUnique(t *testing.T) {
	a, b := msrpsdp.NewTransferID(), msrpsdp.NewTransferID()
	if a == b || len(a) != 32 || strings.ContainsAny(a, "\" ():;") {
		t.Errorf("%q, %q", a, b)
	}
}

// A phone sends a picture; the answerer takes it and asks for what it misses of it.
func ExampleFile() {
	local := us()
	local.Direction, local.File = "sendonly", &msrpsdp.File{Name: "holiday.jpg", Type: "image/jpeg", Size: 4092, TransferID: "Q6LMoGymJdh0", Disposition: "attachment"}
	offer, err := msrpsdp.Offer(local)
	if err != nil {
		fmt.Println(err)
		return
	}
	m, err := msrpsdp.Parse(offer)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("offered:", m.File.LocalName(), m.File.Type, m.File.Size)
	peer := us()
	peer.File = &msrpsdp.File{} // whatever it is
	answer, _, err := msrpsdp.Answer(offer, peer, msrpsdp.Active)
	if err != nil {
		fmt.Println(err) // 488
		return
	}
	_, m, err = msrpsdp.Conclude(offer, answer)
	fmt.Println("taken:", m.File.TransferID, m.Direction, err)
	// Output:
	// offered: holiday.jpg image/jpeg 4092
	// taken: Q6LMoGymJdh0 recvonly <nil>
}

// FuzzFile: no panic; what is read of a file can be written, and is read again the same; nothing is longer than what came.
func FuzzFile(f *testing.F) {
	f.Add(`name:"My cool picture.jpg" type:image/jpeg;a="b" size:32349 `+sha1Text, "vBnG", "attachment", `creation:"Mon, 15 May 2006 15:01:31 +0300" read:"Mon, 15 May 2006 15:01:31 GMT"`, "cid:a%25@b", "1-32349")
	f.Add(`name:"a\"b%" type:x/y;c=d`, "", "", "", "", "5-*")
	f.Fuzz(func(t *testing.T, selector, id, disposition, date, icon, part string) {
		all := []string{"selector:" + selector, "transfer-id:" + id, "disposition:" + disposition, "date:" + date, "icon:" + icon, "range:" + part}
		lines := []string{types, "a=setup:active", path}
		for _, l := range all {
			if strings.ContainsAny(l, "\r\n") {
				return
			}
			lines = append(lines, "a=file-"+l)
		}
		m, err := msrpsdp.Parse(offer(message("7000", lines...)...))
		if err != nil {
			return
		}
		if m.File == nil {
			t.Fatal("no file")
		}
		got := *m.File
		if len(got.Name) > 3*len(selector) || !utf8.ValidString(got.Name) || len(got.Hashes) > 2 {
			t.Fatalf("%+v", got)
		}
		local := got.LocalName()
		if local == "" || len(local) > 255 || strings.ContainsAny(local, "/\\\x00\r\n") || local[0] == '.' || !utf8.ValidString(local) {
			t.Fatalf("LocalName of %q = %q", got.Name, local)
		}
		if got.TransferID == "" {
			got.TransferID = "t"
		}
		if got.Size > 0 && (got.Range.Start > got.Size || got.Range.End > got.Size) {
			got.Range = msrpsdp.Range{}
		}
		if got.Type == "" && got.Size == 0 { // a push says one of three
			got.Size = max(1, got.Range.Start, got.Range.End)
		}
		for _, h := range got.Hashes {
			if h.Algorithm == "sha-256" && len(got.Hashes) == 1 {
				got.Hashes = nil // without SHA-1 beside it, it isn't written
			}
		}
		l := us()
		l.Direction, l.File = "sendonly", &got
		o, err := msrpsdp.Offer(l)
		if err != nil {
			t.Fatalf("%+v can't be written: %v", got, err)
		}
		back, err := msrpsdp.Parse(o)
		if err != nil || !reflect.DeepEqual(*back.File, got) {
			t.Fatalf("%+v comes back as %+v, %v\n%s", got, back.File, err, o)
		}
		if !got.Fits(*back.File) {
			t.Fatalf("%+v does not fit itself", got)
		}
	})
}
