package cpim_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"latchkey/cpim"
)

var update = flag.Bool("update", false, "write the golden files anew")

// sample reads a file of testdata.
func sample(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func photo() cpim.FileTransfer {
	until := time.Date(2014, 8, 13, 15, 42, 10, 0, time.UTC)
	return cpim.FileTransfer{
		File:      cpim.FileInfo{Size: 1699846, Name: `IMG "1" <&'>.jpg`, ContentType: "image/jpeg", URL: "https://ft.example.com/d?id=abb&x='<\">", Until: until, Disposition: cpim.Attach},
		Thumbnail: &cpim.FileInfo{Size: 6208, ContentType: "image/jpeg", URL: "https://ft.example.com/t?id=001", Until: until},
	}
}

// B3.13, S8: what is written, and that nothing breaks out of it.
func TestFileTransferIsWritten(t *testing.T) {
	got, err := photo().XML()
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile("testdata/filetransfer.xml", got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want := sample(t, "filetransfer.xml"); string(got) != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if back, err := cpim.ParseFileTransfer(got); err != nil || !reflect.DeepEqual(back, photo()) {
		t.Errorf("%+v comes back as %+v, %v", photo(), back, err)
	}
	for name, spoil := range map[string]func(*cpim.FileTransfer){
		"no address":                  func(f *cpim.FileTransfer) { f.File.URL = "" },
		"address without host":        func(f *cpim.FileTransfer) { f.File.URL = "https:///x" },
		"address of another scheme":   func(f *cpim.FileTransfer) { f.File.URL = "javascript:alert(1)" },
		"address with a line break":   func(f *cpim.FileTransfer) { f.File.URL = "https://a/\r\nb" },
		"thumbnail without address":   func(f *cpim.FileTransfer) { f.Thumbnail.URL = "" },
		"negative size":               func(f *cpim.FileTransfer) { f.File.Size = -1 },
		"name with a control":         func(f *cpim.FileTransfer) { f.File.Name = "a\x00b" },
		"name that is no UTF-8":       func(f *cpim.FileTransfer) { f.File.Name = "\xff" },
		"content type with a control": func(f *cpim.FileTransfer) { f.File.ContentType = "a/b\n" },
		"disposition":                 func(f *cpim.FileTransfer) { f.File.Disposition = "run" },
	} {
		f := photo()
		spoil(&f)
		if b, err := f.XML(); err == nil {
			t.Errorf("%s is written:\n%s", name, b)
		}
	}
}

// B3.13: what clients and servers write.
func TestFileTransfersOfTheFieldAreRead(t *testing.T) {
	until := time.Date(2014, 8, 13, 15, 42, 10, 0, time.UTC)
	got, err := cpim.ParseFileTransfer(sample(t, "filetransfer-rcsjta.xml"))
	if err != nil || got.Thumbnail == nil {
		t.Fatal(got, err)
	}
	if f := got.File; f.Size != 1699846 || f.Name != "IMG_20140805_134311.jpg" || f.ContentType != "image/jpeg" || f.URL != "https://ft.example.com/download?id=abb&x=1" || !f.Until.Equal(until) || f.Disposition != "" {
		t.Errorf("file %+v", f)
	}
	if f := *got.Thumbnail; f.Size != 6208 || f.URL != "https://ft.example.com/download?id=001" || !f.Until.Equal(until) {
		t.Errorf("thumbnail %+v", f)
	}
	if f := got.File; f.Expired(until.Add(-time.Second)) || !f.Expired(until) || (cpim.FileInfo{}).Expired(until) {
		t.Error("a file expires at its time, and without one never")
	}
	got, err = cpim.ParseFileTransfer(sample(t, "filetransfer-extended.xml"))
	want := cpim.FileInfo{Size: 4046, Name: "voice & more.wav", ContentType: "audio/wav;voice-recording=yes", URL: "https://ft.example.com/v/1", Until: time.Date(2017, 4, 25, 12, 17, 7, 0, time.UTC), Disposition: cpim.Render}
	if err != nil || got.Thumbnail != nil || got.File != want {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
	const least = `<file><file-info><file-size>0</file-size><data url="http://a/b"/></file-info></file>`
	if got, err := cpim.ParseFileTransfer([]byte(least)); err != nil || got.File != (cpim.FileInfo{URL: "http://a/b"}) {
		t.Errorf("%+v, %v", got, err)
	}
	for in, want := range map[string]string{"<file-disposition>render</file-disposition>": cpim.Render, "<file-disposition>timelen=58000</file-disposition>": ""} {
		if got, err := cpim.ParseFileTransfer([]byte(strings.Replace(least, "<data", in+"<data", 1))); err != nil || got.File.Disposition != want {
			t.Errorf("%s: %+v, %v", in, got, err)
		}
	}
}

// S16, S13: no DTD, nothing twice, no address that no browser should see.
func TestDangerousFileTransfersAreRefused(t *testing.T) {
	info := `<file-info type="file"><file-size>1</file-size><data url="https://a/b" until="2014-08-13T17:42:10Z"/></file-info>`
	doc := "<file>" + info + "</file>"
	swap := func(from, to string) string {
		if !strings.Contains(doc, from) {
			t.Fatal(from)
		}
		return strings.Replace(doc, from, to, 1)
	}
	if _, err := cpim.ParseFileTransfer([]byte(doc)); err != nil {
		t.Fatal(err)
	}
	for name, in := range map[string]string{
		"nothing":             "",
		"another document":    "<imdn/>",
		"DTD":                 "<!DOCTYPE file>" + doc,
		"entity":              `<!DOCTYPE file [<!ENTITY x SYSTEM "file:///etc/passwd">]>` + swap(">1<", ">&x;<"),
		"no file":             "<file/>",
		"a thumbnail alone":   swap(`type="file"`, `type="thumbnail"`),
		"two files":           "<file>" + info + info + "</file>",
		"two thumbnails":      "<file>" + strings.Repeat(strings.Replace(info, `"file"`, `"thumbnail"`, 1), 2) + info + "</file>",
		"two sizes":           swap("<data", "<file-size>2</file-size><data"),
		"two names":           swap("<data", "<file-name>a</file-name><file-name>b</file-name><data"),
		"two types":           swap("<data", "<content-type/><content-type/><data"),
		"two addresses":       swap("<data", `<data url="https://c/d"/><data`),
		"two type attributes": swap(`type="file"`, `type="file" type="thumbnail"`),
		"two url attributes":  swap("until=", `url="https://c/d" until=`),
		"two until":           swap("until=", `until="" until=`),
		"two dispositions":    swap(`type="file"`, `type="file" file-disposition="attach" file-disposition="render"`),
		"no size":             swap("<file-size>1</file-size>", ""),
		"size is no number":   swap(">1<", ">1e3<"),
		"negative size":       swap(">1<", ">-1<"),
		"size too large":      swap(">1<", ">9223372036854775808<"),
		"no address":          swap(`url="https://a/b" `, ""),
		"relative address":    swap("https://a/b", "/b"),
		"file address":        swap("https://a/b", "file:///etc/passwd"),
		"script":              swap("https://a/b", "javascript:alert(1)"),
		"address with blank":  swap("https://a/b", "https://a/ b"),
		"address too long":    swap("https://a/b", "https://a/"+strings.Repeat("b", 2048)),
		"name too long":       swap("<data", "<file-name>"+strings.Repeat("x", 1025)+"</file-name><data"),
		"name with controls":  swap("<data", "<file-name>a&#10;b</file-name><data"),
		"too deep":            swap("<data", strings.Repeat("<x>", 15)+strings.Repeat("</x>", 15)+"<data"),
		"too large":           swap("<data", strings.Repeat(" ", 64<<10)+"<data"),
	} {
		if got, err := cpim.ParseFileTransfer([]byte(in)); !errors.Is(err, cpim.ErrMalformed) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

// A file waits for its receiver.
func ExampleParseFileTransfer() {
	doc, err := cpim.FileTransfer{File: cpim.FileInfo{
		Size: 183524, Name: "holiday.jpg", ContentType: "image/jpeg", URL: "https://ft.example.com/f/1", Until: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
	}}.XML()
	if err != nil {
		fmt.Println(err)
		return
	}
	t, err := cpim.ParseFileTransfer(doc) // of a message whose Content is cpim.FileTransferType
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%s, %d octets at %s\n", t.File.Name, t.File.Size, t.File.URL)
	// Output:
	// holiday.jpg, 183524 octets at https://ft.example.com/f/1
}

// FuzzFileTransfer: no panic; what was read is written and read again the same.
func FuzzFileTransfer(f *testing.F) {
	for _, name := range []string{"filetransfer.xml", "filetransfer-rcsjta.xml", "filetransfer-extended.xml"} {
		b, err := os.ReadFile("testdata/" + name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		got, err := cpim.ParseFileTransfer(in)
		if err != nil {
			if !errors.Is(err, cpim.ErrMalformed) {
				t.Fatal(err)
			}
			return
		}
		b, err := got.XML()
		if err != nil {
			t.Fatalf("%+v can't be written: %v", got, err)
		}
		back, err := cpim.ParseFileTransfer(b)
		for _, info := range []*cpim.FileInfo{&got.File, &back.File, got.Thumbnail, back.Thumbnail} {
			if info != nil {
				info.Until = time.Time{} // written to the millisecond
			}
		}
		if err != nil || !reflect.DeepEqual(back, got) {
			t.Fatalf("%+v comes back as %+v, %v", got, back, err)
		}
	})
}
