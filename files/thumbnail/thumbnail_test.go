package thumbnail_test

import (
	"bytes"
	"compress/zlib"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"

	"latchkey/files/thumbnail"
)

// quarters is a picture whose corners are red, green, blue and white.
func quarters(w, h int) *image.RGBA {
	m := image.NewRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			c := color.RGBA{A: 255}
			switch {
			case x < w/2 && y < h/2:
				c.R = 255
			case y < h/2:
				c.G = 255
			case x < w/2:
				c.B = 255
			default:
				c.R, c.G, c.B = 255, 255, 255
			}
			m.SetRGBA(x, y, c)
		}
	}
	return m
}

// corners names the colours of a picture's corners, by lines from the upper left.
func corners(m image.Image) string {
	b := m.Bounds()
	name := func(x, y int) string {
		r, g, bl, _ := m.At(x, y).RGBA()
		switch {
		case r > 0xa000 && g > 0xa000 && bl > 0xa000:
			return "W"
		case r > 0xa000 && g < 0x6000:
			return "R"
		case g > 0xa000 && r < 0x6000:
			return "G"
		case bl > 0xa000 && g < 0x6000:
			return "B"
		}
		return fmt.Sprintf("(%x %x %x)", r, g, bl)
	}
	x, y := b.Dx()/4, b.Dy()/4
	return name(x, y) + name(b.Dx()-1-x, y) + name(x, b.Dy()-1-y) + name(b.Dx()-1-x, b.Dy()-1-y)
}

func encoded(t *testing.T, m image.Image, kind string) []byte {
	t.Helper()
	var b bytes.Buffer
	var err error
	switch kind {
	case "jpeg":
		err = jpeg.Encode(&b, m, &jpeg.Options{Quality: 95})
	case "png":
		err = png.Encode(&b, m)
	case "gif":
		err = gif.Encode(&b, m, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// exif is a JPEG with a camera's words: orientation, and a place that must not be passed on.
func exif(picture []byte, turn uint16, order binary.AppendByteOrder) []byte {
	tiff := []byte("II*\x00")
	if order == binary.BigEndian {
		tiff = []byte("MM\x00*")
	}
	tiff = append(tiff, order.AppendUint32(nil, 8)...)
	entry := func(tag, kind uint16, n, value uint32) []byte {
		e := order.AppendUint16(order.AppendUint16(nil, tag), kind)
		e = order.AppendUint32(e, n)
		if kind == 3 {
			return append(order.AppendUint16(e, uint16(value)), 0, 0)
		}
		return order.AppendUint32(e, value)
	}
	tiff = append(tiff, order.AppendUint16(nil, 2)...)
	tiff = append(tiff, entry(0x010e, 2, 20, 60)...)
	tiff = append(tiff, entry(0x0112, 3, 1, uint32(turn))...)
	tiff = append(tiff, "    SECRET PLACE 52.5 N 13.4 E"...)
	body := append([]byte("Exif\x00\x00"), tiff...)
	segment := append(binary.BigEndian.AppendUint16([]byte{0xff, 0xe1}, uint16(len(body)+2)), body...)
	return append(append(bytes.Clone(picture[:2]), segment...), picture[2:]...)
}

func look(t *testing.T, small []byte) image.Image {
	t.Helper()
	m, err := jpeg.Decode(bytes.NewReader(small))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// R33: each kind of picture gets a small JPEG that looks like it.
func TestPicturesGetSmallOnes(t *testing.T) {
	for _, kind := range []string{"jpeg", "png", "gif"} {
		for _, size := range [][4]int{{600, 400, 256, 170}, {300, 900, 85, 256}, {40, 30, 40, 30}, {256, 2, 256, 2}, {3000, 2, 256, 1}} {
			m := quarters(size[0], size[1])
			small, err := thumbnail.Make(bytes.NewReader(encoded(t, m, kind)))
			if err != nil || len(small) > thumbnail.MaxSize {
				t.Fatalf("%s of %d by %d: %d octets, %v", kind, size[0], size[1], len(small), err)
			}
			got := look(t, small)
			if b := got.Bounds(); b.Dx() != size[2] || b.Dy() != size[3] {
				t.Errorf("%s of %d by %d becomes %v, want %d by %d", kind, size[0], size[1], b, size[2], size[3])
			}
			if c := corners(got); size[1] > 2 && c != "RGBW" {
				t.Errorf("%s: corners %s", kind, c)
			}
		}
	}
}

// webpPicture is a lossless WebP of one red pixel, and lossyWebP a lossy one, by libwebp.
const (
	webpPicture = "UklGRhwAAABXRUJQVlA4TA8AAAAvAAAAAAcQ/Y/+ByKi/wEA"
	lossyWebP   = "UklGRiIAAABXRUJQVlA4IBYAAAAwAQCdASoBAAEADsD+JaQAA3AAAAAA"
)

// R33: WebP, lossless and lossy.
func TestWebPGetsASmallOne(t *testing.T) {
	for _, text := range []string{webpPicture, lossyWebP} {
		b, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		small, err := thumbnail.Make(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		if m := look(t, small); m.Bounds().Dx() != 1 || m.Bounds().Dy() != 1 {
			t.Errorf("%v", m.Bounds())
		}
	}
}

// A picture of nothing but noise is small in the end, too, and what is transparent is white.
func TestSmallIsSmall(t *testing.T) {
	m := image.NewRGBA(image.Rect(0, 0, 700, 700))
	_, _ = rand.NewChaCha8([32]byte{1}).Read(m.Pix)
	small, err := thumbnail.Make(bytes.NewReader(encoded(t, m, "png")))
	if err != nil || len(small) > thumbnail.MaxSize {
		t.Errorf("noise: %d octets, %v", len(small), err)
	}
	small, err = thumbnail.Make(bytes.NewReader(encoded(t, image.NewNRGBA(image.Rect(0, 0, 300, 300)), "png")))
	if err != nil {
		t.Fatal(err)
	}
	if c := corners(look(t, small)); c != "WWWW" {
		t.Errorf("transparent corners are %s", c)
	}
}

// S14: the picture is turned as the camera says, and nothing else that it says is in the small one.
func TestCamerasWordsTurnThePictureAndStayOut(t *testing.T) {
	picture := encoded(t, quarters(400, 200), "jpeg")
	for turn, want := range map[uint16]string{1: "RGBW", 2: "GRWB", 3: "WBGR", 4: "BWRG", 5: "RBGW", 6: "BRWG", 7: "WGBR", 8: "GWRB", 0: "RGBW", 9: "RGBW"} {
		for _, order := range []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian} {
			small, err := thumbnail.Make(bytes.NewReader(exif(picture, turn, order)))
			if err != nil {
				t.Fatal(err)
			}
			m := look(t, small)
			if c := corners(m); c != want {
				t.Errorf("orientation %d: corners %s, want %s", turn, c, want)
			}
			if upright := turn < 5 || turn > 8; upright != (m.Bounds().Dx() > m.Bounds().Dy()) {
				t.Errorf("orientation %d: %v", turn, m.Bounds())
			}
			if bytes.Contains(small, []byte("SECRET")) || bytes.Contains(small, []byte("Exif")) {
				t.Errorf("orientation %d: the small picture tells what the camera said", turn)
			}
		}
	}
}

// bomb is a PNG of so many pixels, in few octets.
func bomb(w, h uint32, bits, kind byte) []byte {
	b := []byte("\x89PNG\r\n\x1a\n")
	chunk := func(name string, data []byte) {
		b = binary.BigEndian.AppendUint32(b, uint32(len(data)))
		from := len(b)
		b = append(append(b, name...), data...)
		b = binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b[from:]))
	}
	chunk("IHDR", append(binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, w), h), bits, kind, 0, 0, 0))
	var z bytes.Buffer
	zw := zlib.NewWriter(&z)
	_, _ = zw.Write(make([]byte, 1<<20))
	_ = zw.Close()
	chunk("IDAT", z.Bytes())
	chunk("IEND", nil)
	return b
}

// S16: what a decoder would need too much memory for is refused before it begins, whatever way the file says it.
func TestBombsAreNotDecoded(t *testing.T) {
	frame := func(marker byte, w, h uint16, sampling byte) []byte {
		b := []byte{0xff, 0xd8, 0xff, marker, 0, 17, 8}
		b = binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(b, h), w)
		return append(b, 3, 1, sampling, 0, 2, 0x11, 0, 3, 0x11, 0, 0xff, 0xd9)
	}
	giant := append([]byte("GIF89a"), 0xff, 0xff, 0xff, 0xff, 0, 0, 0)
	webp, _ := base64.StdEncoding.DecodeString(webpPicture)
	webp = bytes.Clone(webp)
	copy(webp[21:], []byte{0xff, 0xff, 0xff, 0x0f}) // 16384 by 16384
	for name, b := range map[string][]byte{
		"png": bomb(30_000, 30_000, 8, 6), "png of 16 bits": bomb(3000, 3000, 16, 6), "png, wide": bomb(65_000, 5000, 8, 2),
		"jpeg": frame(0xc0, 65_535, 65_535, 0x22), "jpeg in passes": frame(0xc2, 6000, 4000, 0x11), "gif": giant, "webp": webp,
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		small, err := thumbnail.Make(bytes.NewReader(b))
		runtime.ReadMemStats(&after)
		if !errors.Is(err, thumbnail.ErrTooLarge) || small != nil {
			t.Errorf("%s: %d octets, %v", name, len(small), err)
		}
		if took := after.TotalAlloc - before.TotalAlloc; took > 2<<20 {
			t.Errorf("%s: %d octets were allocated", name, took)
		}
	}
	// As large as phones take them, the same is no bomb.
	if _, err := thumbnail.Make(bytes.NewReader(frame(0xc0, 8000, 6000, 0x22))); errors.Is(err, thumbnail.ErrTooLarge) {
		t.Error("a photo of 48 megapixels is taken for a bomb")
	}
}

// What is no picture, or half of one, gets none.
func TestWhatIsNoPictureGetsNone(t *testing.T) {
	whole := encoded(t, quarters(300, 300), "png")
	for name, b := range map[string][]byte{
		"nothing": nil, "text": []byte(strings.Repeat("hello ", 10)), "svg": []byte("<svg xmlns='http://www.w3.org/2000/svg'/>"), "half": whole[:len(whole)/2],
		"a JPEG without a frame": []byte("\xff\xd8\xff\xe0\x00\x04ab\xff\xd9 and more"), "too short a segment": []byte("\xff\xd8\xff\xe0\x00\x00 and more of it"),
	} {
		if small, err := thumbnail.Make(bytes.NewReader(b)); !errors.Is(err, thumbnail.ErrFormat) || small != nil {
			t.Errorf("%s: %d octets, %v", name, len(small), err)
		}
	}
}

// FuzzMake: whatever comes, there is no panic, little memory, and either a small JPEG or an error.
func FuzzMake(f *testing.F) {
	t := &testing.T{}
	for _, kind := range []string{"jpeg", "png", "gif"} {
		f.Add(encoded(t, quarters(20, 10), kind))
	}
	f.Add(exif(encoded(t, quarters(16, 8), "jpeg"), 6, binary.LittleEndian))
	f.Add(exif(encoded(t, quarters(16, 8), "jpeg"), 8, binary.BigEndian))
	f.Add(bomb(70, 70, 8, 6))
	for _, text := range []string{webpPicture, lossyWebP} {
		b, _ := base64.StdEncoding.DecodeString(text)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		small, err := thumbnail.Make(bytes.NewReader(b))
		if err != nil {
			return
		}
		m, err := jpeg.Decode(bytes.NewReader(small))
		if err != nil || len(small) > thumbnail.MaxSize || m.Bounds().Dx() > 256 || m.Bounds().Dy() > 256 {
			t.Fatalf("%d octets, %v", len(small), err)
		}
	})
}
