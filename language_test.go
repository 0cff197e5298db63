package latchkey

import "testing"

func TestPreferredLanguageIsTheOneOfMostQuality(t *testing.T) {
	for accept, want := range map[string]string{
		"": "", "de": "de", "de-AT, en;q=0.5": "de-AT", "en;q=0.3, pt-BR;q=0.8, *;q=0.1": "pt-BR", "fr;q=0": "", "de;q=x, it;q=0.1": "it", "*": "", "x y, es": "es", "en, de": "en",
	} {
		if got := PreferredLanguage(accept); got != want {
			t.Errorf("PreferredLanguage(%q) = %q, want %q", accept, got, want)
		}
	}
	for tag, want := range map[string]bool{"de": true, "zh-Hans-CN": true, "": false, "d": false, "de_AT": false, "<b>": false} {
		if IsLanguageTag(tag) != want {
			t.Errorf("IsLanguageTag(%q) = %v", tag, !want)
		}
	}
}
