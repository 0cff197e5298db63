package httpapi

import (
	"mime"
	"net/http"
	"strconv"
	"strings"

	"latchkey"
)

// format is a media type that the facade speaks.
type format string

const (
	jsonFormat    format = "application/json"
	xmlFormat     format = "application/xml"
	textXMLFormat format = "text/xml"
	htmlFormat    format = "text/html"
	sseFormat     format = "text/event-stream"
	fileFormat    format = "application/vnd.latchkey"
)

func (f format) xml() bool { return f == xmlFormat || f == textXMLFormat }

// negotiate picks the offer that Accept likes best (RFC 9110 §12.5.1): the highest quality, then the
// most specific range, then the client's order, then ours. Where nothing is said the body's own
// type counts, and then the first offer.
func negotiate(r *http.Request, offers ...format) (format, error) {
	ranges := acceptRanges(r.Header.Values("Accept"))
	best, bestRank := format(""), rank{}
	for i, offer := range offers {
		if got, ok := rankOf(offer, ranges); ok {
			got.offer = i
			if best == "" || got.better(bestRank) {
				best, bestRank = offer, got
			}
		}
	}
	if best == "" && len(ranges) > 0 {
		// text/xml is an old name of application/xml (RFC 7303 §9.2).
		if got, ok := rankOf(textXMLFormat, ranges); ok && got.specific == 2 {
			for _, offer := range offers {
				if offer == xmlFormat {
					return textXMLFormat, nil
				}
			}
		}
		return "", latchkey.Errorf(latchkey.KindNotAcceptable, "ask for %s", list(offers))
	}
	if bestRank.specific == 0 {
		if sent, err := bodyFormat(r); err == nil && sent.xml() {
			for _, offer := range offers {
				if offer == xmlFormat {
					return xmlFormat, nil
				}
			}
		}
	}
	if best == "" {
		return offers[0], nil
	}
	return best, nil
}

type acceptRange struct {
	kind    string // type/subtype, type/* or */*
	quality float64
}

// acceptRanges reads Accept. Ranges that can't be understood are as if they weren't there.
func acceptRanges(values []string) []acceptRange {
	var ranges []acceptRange
	for _, value := range values {
		for item := range strings.SplitSeq(value, ",") {
			if len(ranges) == 32 {
				return ranges
			}
			kind, params, _ := strings.Cut(strings.TrimSpace(item), ";")
			kind = strings.ToLower(strings.TrimSpace(kind))
			if !strings.Contains(kind, "/") {
				continue
			}
			got := acceptRange{kind, 1}
			for p := range strings.SplitSeq(params, ";") {
				name, v, _ := strings.Cut(strings.TrimSpace(p), "=")
				if strings.EqualFold(name, "q") {
					if q, err := strconv.ParseFloat(v, 64); err == nil && q >= 0 && q <= 1 {
						got.quality = q
					}
				}
			}
			ranges = append(ranges, got)
		}
	}
	return ranges
}

type rank struct {
	quality  float64
	specific int // 2 type/subtype, 1 type/*, 0 */*
	order    int
	offer    int
}

func (a rank) better(b rank) bool {
	switch {
	case a.quality != b.quality:
		return a.quality > b.quality
	case a.specific != b.specific:
		return a.specific > b.specific
	case a.order != b.order:
		return a.order < b.order
	}
	return a.offer < b.offer
}

// rankOf finds the most specific range that covers the offer; that one alone gives its quality.
func rankOf(offer format, ranges []acceptRange) (rank, bool) {
	best, found := rank{specific: -1}, false
	major, _, _ := strings.Cut(string(offer), "/")
	for i, a := range ranges {
		specific := -1
		switch a.kind {
		case string(offer):
			specific = 2
		case strings.Replace(string(offer), "/", "/problem+", 1):
			specific = 2
		case major + "/*":
			specific = 1
		case "*/*":
			specific = 0
		}
		if specific > best.specific {
			best, found = rank{quality: a.quality, specific: specific, order: i}, true
		}
	}
	return best, found && best.quality > 0
}

// bodyFormat is the media type of the request's body; JSON where nothing is said.
func bodyFormat(r *http.Request) (format, error) {
	value := r.Header.Get("Content-Type")
	if value == "" {
		return jsonFormat, nil
	}
	kind, params, err := mime.ParseMediaType(value)
	if err == nil && params["charset"] != "" && !strings.EqualFold(params["charset"], "utf-8") {
		return "", latchkey.Errorf(latchkey.KindUnsupportedMedia, "Content-Type: send UTF-8")
	}
	switch f := format(kind); {
	case err != nil:
	case f == jsonFormat, f.xml():
		return f, nil
	}
	return "", latchkey.Errorf(latchkey.KindUnsupportedMedia, "Content-Type: send %s or %s", jsonFormat, xmlFormat)
}

func list(offers []format) string {
	names := make([]string, len(offers))
	for i, o := range offers {
		names[i] = string(o)
	}
	return strings.Join(names, ", ")
}
