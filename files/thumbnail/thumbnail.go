// Package thumbnail makes small JPEGs of pictures that strangers send: JPEG, PNG, GIF (of its first frame) and WebP.
//
// A picture is as large as its decoder makes it, whatever the file's size: before anything is decoded, what that would take is counted, and
// refused above a limit. Of what the file says beside the picture (Exif with place and time, colour profiles, comments) nothing comes
// into the small one, which is turned as the camera says. Start with Make.
package thumbnail

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"
	"math/bits"

	"golang.org/x/image/webp"
)

// Limits. A photo of 40 megapixels passes; what a decoder would need more memory for does not.
const (
	maxMemory = 96 << 20 // octets of the decoded picture
	maxInput  = 64 << 20 // octets of the file
	maxSide   = 65_535
)

// MaxSize is how many octets a small picture has at most: one goes in signalling, too (RFC 5547 §8.8; RCC.07 wants 5 kB (unverified)).
const MaxSize = 5000

// Errors of pictures that get no small one.
var (
	ErrFormat   = errors.New("not a picture that is known")
	ErrTooLarge = errors.New("picture needs too much memory")
)

// Make reads a picture and gives a small JPEG. It takes the memory and the time of one large picture; the caller says how many at a time.
func Make(r io.ReadSeeker) (small []byte, err error) {
	defer func() {
		if p := recover(); p != nil { // decoders are others' code, and files strangers'
			small, err = nil, fmt.Errorf("%w: the decoder failed: %v", ErrFormat, p)
		}
	}()
	head := make([]byte, 12)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, ErrFormat
	}
	again := func() (io.Reader, error) {
		_, err := r.Seek(0, io.SeekStart)
		return io.LimitReader(r, maxInput), err
	}
	f := formatOf(head)
	if f == nil {
		return nil, ErrFormat
	}
	in, err := again()
	if err != nil {
		return nil, err
	}
	memory, turn, err := f.measure(in)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	case memory > maxMemory:
		return nil, ErrTooLarge
	}
	if in, err = again(); err != nil {
		return nil, err
	}
	m, err := f.decode(in)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	return encode(m, turn)
}

// format is a kind of picture.
type format struct {
	is func(head []byte) bool
	// measure gives the octets that decoding takes, and how the picture is to be turned (Exif orientation).
	measure func(io.Reader) (memory int64, turn int, err error)
	decode  func(io.Reader) (image.Image, error)
}

func formatOf(head []byte) *format {
	for _, f := range formats {
		if f.is(head) {
			return &f
		}
	}
	return nil
}

var formats = []format{
	{func(b []byte) bool { return bytes.HasPrefix(b, []byte("\xff\xd8\xff")) }, measureJPEG, jpeg.Decode},
	{func(b []byte) bool { return bytes.HasPrefix(b, []byte("\x89PNG\r\n\x1a\n")) }, measured(png.DecodeConfig, 2), png.Decode}, // twice: interlaced ones are put together
	{func(b []byte) bool { return bytes.HasPrefix(b, []byte("GIF8")) }, measured(gif.DecodeConfig, 2), gif.Decode},
	{func(b []byte) bool { return string(b[:4]) == "RIFF" && string(b[8:12]) == "WEBP" }, measured(webp.DecodeConfig, 3), webp.Decode},
}

// measured counts by the header alone. copies are how many times the decoder holds the picture at its worst.
func measured(config func(io.Reader) (image.Config, error), copies int64) func(io.Reader) (int64, int, error) {
	return func(r io.Reader) (int64, int, error) {
		c, err := config(r)
		if err != nil {
			return 0, 0, err
		}
		if c.Width < 1 || c.Height < 1 || c.Width > maxSide || c.Height > maxSide {
			return 0, 0, fmt.Errorf("%d by %d pixels", c.Width, c.Height)
		}
		return int64(c.Width) * int64(c.Height) * depth(c.ColorModel) * copies, 1, nil
	}
}

// depth is the octets of a pixel.
func depth(m color.Model) int64 {
	if _, ok := m.(color.Palette); ok {
		return 1
	}
	switch m {
	case color.RGBA64Model, color.NRGBA64Model:
		return 8
	case color.GrayModel:
		return 1
	case color.Gray16Model:
		return 2
	case color.YCbCrModel:
		return 3
	}
	return 4
}

// sides are the lengths of the longer side that are tried, and qualities those of the JPEG, until the small picture is small enough.
var (
	sides     = []int{256, 192, 128, 96, 64, 32}
	qualities = []int{75, 55}
)

func encode(m image.Image, turn int) ([]byte, error) {
	small := turned(shrink(m, sides[0]), turn)
	for _, side := range sides {
		small = shrink(small, side)
		for _, q := range qualities {
			var b bytes.Buffer
			if err := jpeg.Encode(&b, small, &jpeg.Options{Quality: q}); err != nil {
				return nil, err
			}
			if b.Len() <= MaxSize {
				return b.Bytes(), nil
			}
		}
	}
	return nil, errors.New("the small picture is not small") // 32 by 32 pixels are
}

// samples is how many pixels of each direction count for one of the small picture.
const samples = 8

// shrink makes each pixel the mean of those that it stands for, on white where they are transparent. No picture grows.
func shrink(m image.Image, side int) *image.RGBA {
	b := m.Bounds()
	w, h := fit(b.Dx(), b.Dy(), side)
	out := image.NewRGBA(image.Rect(0, 0, w, h))
	at := func(x, y int) color.RGBA64 { return color.RGBA64Model.Convert(m.At(x, y)).(color.RGBA64) }
	if fast, ok := m.(image.RGBA64Image); ok {
		at = fast.RGBA64At
	}
	for y := range h {
		top, bottom := b.Min.Y+y*b.Dy()/h, b.Min.Y+(y+1)*b.Dy()/h
		for x := range w {
			left, right := b.Min.X+x*b.Dx()/w, b.Min.X+(x+1)*b.Dx()/w
			var sum [3]uint64
			n := uint64(0)
			for sy := top; sy < max(bottom, top+1); sy += max((bottom-top)/samples, 1) {
				for sx := left; sx < max(right, left+1); sx += max((right-left)/samples, 1) {
					c := at(sx, sy) // premultiplied
					white := uint64(0xffff - c.A)
					sum[0] += uint64(c.R) + white
					sum[1] += uint64(c.G) + white
					sum[2] += uint64(c.B) + white
					n++
				}
			}
			out.SetRGBA(x, y, color.RGBA{mean(sum[0], n), mean(sum[1], n), mean(sum[2], n), 0xff})
		}
	}
	return out
}

func mean(sum, n uint64) uint8 { return uint8(min(sum/n, 0xffff) >> 8) } //nolint:gosec // of 16 bits

// fit gives the size of a picture whose longer side is side at most.
func fit(w, h, side int) (int, int) {
	scale := func(a, b int) int { // a of a picture whose longer side b becomes side
		hi, lo := bits.Mul64(uint64(a), uint64(side)) //nolint:gosec // both are positive
		q, _ := bits.Div64(hi, lo, uint64(b))         //nolint:gosec // and so is this
		return max(int(q), 1)                         //nolint:gosec // at most side
	}
	switch {
	case max(w, h) <= side:
		return w, h
	case w >= h:
		return side, scale(h, w)
	}
	return scale(w, h), side
}

// turned turns a picture as the orientations 1 to 8 of Exif say.
func turned(m *image.RGBA, turn int) *image.RGBA {
	w, h := m.Bounds().Dx(), m.Bounds().Dy()
	from := map[int]func(x, y int) (int, int){ // where a pixel of the turned picture is in the other
		2: func(x, y int) (int, int) { return w - 1 - x, y },
		3: func(x, y int) (int, int) { return w - 1 - x, h - 1 - y },
		4: func(x, y int) (int, int) { return x, h - 1 - y },
		5: func(x, y int) (int, int) { return y, x },
		6: func(x, y int) (int, int) { return y, h - 1 - x },
		7: func(x, y int) (int, int) { return w - 1 - y, h - 1 - x },
		8: func(x, y int) (int, int) { return w - 1 - y, x },
	}[turn]
	if from == nil {
		return m
	}
	if turn >= 5 {
		w, h = h, w
	}
	out := image.NewRGBA(image.Rect(0, 0, w, h))
	// The functions speak of the picture before.
	w, h = m.Bounds().Dx(), m.Bounds().Dy()
	for y := range out.Bounds().Dy() {
		for x := range out.Bounds().Dx() {
			sx, sy := from(x, y)
			out.SetRGBA(x, y, m.RGBAAt(sx, sy))
		}
	}
	return out
}
