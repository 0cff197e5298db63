package thumbnail

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// maxSegments is how much of a JPEG is read in search of its frame.
const maxSegments = 1000

var errNoFrame = errors.New("no frame in the JPEG")

// measureJPEG counts by the frame header: how the colours are sampled, and whether the picture comes in passes, for which
// the decoder holds all coefficients. On the way it meets the camera's word on orientation.
func measureJPEG(r io.Reader) (memory int64, turn int, err error) {
	in := bufio.NewReader(r)
	turn = 1
	if _, err := in.Discard(2); err != nil {
		return 0, 0, err
	}
	for range maxSegments {
		marker, err := nextMarker(in)
		if err != nil {
			return 0, 0, err
		}
		switch {
		case marker == 0x01 || marker >= 0xd0 && marker <= 0xd8: // they stand alone
			continue
		case marker == 0xd9 || marker == 0xda: // the end, or the picture itself
			return 0, 0, errNoFrame
		}
		var size [2]byte
		if _, err := io.ReadFull(in, size[:]); err != nil {
			return 0, 0, err
		}
		n := int(binary.BigEndian.Uint16(size[:])) - 2
		if n < 0 {
			return 0, 0, errors.New("a segment of the JPEG is too short")
		}
		frame := marker >= 0xc0 && marker <= 0xcf && marker != 0xc4 && marker != 0xc8 && marker != 0xcc
		if !frame && marker != 0xe1 {
			if _, err := in.Discard(n); err != nil {
				return 0, 0, err
			}
			continue
		}
		body := make([]byte, n)
		if _, err := io.ReadFull(in, body); err != nil {
			return 0, 0, err
		}
		if frame {
			memory, err := frameMemory(body, marker == 0xc2)
			return memory, turn, err
		}
		if t := orientation(body); t != 0 {
			turn = t
		}
	}
	return 0, 0, errNoFrame
}

// nextMarker passes over what lies before the next marker, as decoders do.
func nextMarker(in *bufio.Reader) (byte, error) {
	for {
		b, err := in.ReadByte()
		if err != nil {
			return 0, err
		}
		if b != 0xff {
			continue
		}
		for b == 0xff {
			if b, err = in.ReadByte(); err != nil {
				return 0, err
			}
		}
		if b != 0 {
			return b, nil
		}
	}
}

// frameMemory is what the decoder of a frame needs, from its header (ITU-T T.81 §B.2.2).
func frameMemory(b []byte, passes bool) (int64, error) {
	if len(b) < 6 || len(b) < 6+3*int(b[5]) || b[5] == 0 || b[5] > 4 {
		return 0, errors.New("the JPEG's frame header is too short")
	}
	height, width := int64(binary.BigEndian.Uint16(b[1:])), int64(binary.BigEndian.Uint16(b[3:]))
	if width == 0 || height == 0 {
		return 0, fmt.Errorf("%d by %d pixels", width, height)
	}
	var most, all int64 = 1, 0
	for i := range int(b[5]) {
		s := b[7+3*i]
		all += int64(s>>4) * int64(s&15)
		most = max(most, int64(s>>4)*int64(s&15))
	}
	memory := (width + 32) * (height + 32) * max(all, 1) / most
	if b[5] == 4 { // of four colours the last one is kept beside, and they are put together in the end
		memory *= 3
	}
	if passes {
		memory *= 5 // a coefficient of four octets each
	}
	return memory, nil
}

// orientation finds tag 0x0112 in an Exif segment (TIFF 6.0); 0: it isn't there.
func orientation(b []byte) int {
	const head = "Exif\x00\x00"
	if len(b) < len(head)+8 || string(b[:len(head)]) != head {
		return 0
	}
	b = b[len(head):]
	var order binary.ByteOrder
	switch string(b[:4]) {
	case "II*\x00":
		order = binary.LittleEndian
	case "MM\x00*":
		order = binary.BigEndian
	default:
		return 0
	}
	at := int64(order.Uint32(b[4:]))
	if at+2 > int64(len(b)) {
		return 0
	}
	n := int(order.Uint16(b[at:]))
	for e := at + 2; n > 0 && e+12 <= int64(len(b)); e, n = e+12, n-1 {
		if order.Uint16(b[e:]) == 0x0112 && order.Uint16(b[e+2:]) == 3 { // of type SHORT
			if v := int(order.Uint16(b[e+8:])); v >= 1 && v <= 8 {
				return v
			}
			return 0
		}
	}
	return 0
}
