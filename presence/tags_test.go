package presence

import (
	"reflect"
	"strings"
	"testing"
)

// B3.02, B5.01: +g.oma.sip-im belongs into REGISTER, not into OPTIONS.
func TestOwnTagsSayChatAndFiles(t *testing.T) {
	own := OwnTags()
	if !own.Chat() || !own.FileMSRP() || !own.FileHTTP() || !own.FileIcon() {
		t.Errorf("chat %v, files over msrp %v, over http %v, with small pictures %v, want all", own.Chat(), own.FileMSRP(), own.FileHTTP(), own.FileIcon())
	}
	c, p := own.Capabilities(), own.Params()
	if c.Has(imTag) || !p.Has(imTag) {
		t.Errorf("capabilities %v, parameters %v", c, p)
	}
	if again := ParseTags(own.String()); !reflect.DeepEqual(again, own) {
		t.Errorf("ParseTags(%s) = %+v, want %+v", own, again, own)
	}
}

func TestTagsThatSayNothing(t *testing.T) {
	for _, s := range []string{
		"", ";;;", "+g.3gpp.iari-ref", `+g.3gpp.iari-ref=""`, `+g.3gpp.iari-ref="%zz,,"`, `x="+g.3gpp.iari-ref=urn%3Aurn-7%3A3gpp-application.ims.iari.rcse.im"`,
		`x="\";+g.oma.sip-im`, "+g.oma.sip-im=\"FALSE\"", "automata;q=0.5", `+g.3gpp.iari-ref="urn%3Aurn-7%3A3gpp-application.ims.iari.rcse.im2"`,
	} {
		if tags := ParseTags(s); tags.Chat() || tags.File() {
			t.Errorf("ParseTags(%q) = %+v, want no ability", s, tags)
		}
	}
}

func TestTagsAreBounded(t *testing.T) {
	var s strings.Builder
	for i := range 1000 {
		s.WriteString(strings.Repeat("x", i%50+1) + strings.Repeat("y", i/50) + ",")
	}
	if tags := ParseTags(`+g.3gpp.iari-ref="` + s.String() + `"`); len(tags.IARI) != maxIdentifiers {
		t.Errorf("%d identifiers kept, want %d", len(tags.IARI), maxIdentifiers)
	}
}

func FuzzParseTags(f *testing.F) {
	for _, s := range []string{
		`+sip.instance="<urn:gsma:imei:1>";+g.3gpp.iari-ref="urn%3Aurn-7%3Ax,urn%3Ay";expires=5`, "+g.oma.sip-im", `+g.oma.sip-im="TRUE";+g.3gpp.icsi-ref=x`,
		`+g.3gpp.icsi-ref="<urn:a>, b"`, `a="\"";b=";=,"`, `+g.3gpp.iari-ref="`, `+g.3gpp.iari-ref="\`, "=;=", `+g.3gpp.iari-ref="a%2Cb,%25,%20"`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		tags := ParseTags(s)
		if len(tags.IARI) > maxIdentifiers || len(tags.ICSI) > maxIdentifiers {
			t.Fatalf("ParseTags(%q) keeps too much", s)
		}
		text := tags.String()
		if strings.ContainsAny(text, "\r\n\x00 <>") {
			t.Fatalf("ParseTags(%q) lets %q through", s, text)
		}
		if again := ParseTags(text); !reflect.DeepEqual(again, tags) {
			t.Fatalf("ParseTags(%q) = %+v, read again from %q: %+v", s, tags, text, again)
		}
	})
}

// B3.03: a small picture goes with a file over MSRP alone.
func TestSmallPicturesBelongToFilesOverMSRP(t *testing.T) {
	const thumb, file = "urn%3Aurn-7%3A3gpp-application.ims.iari.rcs.ftthumb", "urn%3Aurn-7%3A3gpp-application.ims.iari.rcse.ft"
	for tags, want := range map[string]bool{thumb + "," + file: true, file: false, thumb: false} {
		if got := ParseTags(`+g.3gpp.iari-ref="` + tags + `"`).FileIcon(); got != want {
			t.Errorf("%s: %v", tags, got)
		}
	}
}
