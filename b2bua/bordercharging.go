package b2bua

import (
	"slices"
	"strings"

	"latchkey/internal/sipua"
)

// vector is a P-Charging-Vector (RFC 7315 §5.6): parameters in their order, each as it is written.
type vector []string

func readVector(value string) vector {
	var v vector
	quoted, start := false, 0
	for i := 0; i <= len(value); i++ {
		switch {
		case i == len(value) || value[i] == ';' && !quoted:
			if p := strings.TrimSpace(value[start:i]); p != "" {
				v = append(v, p)
			}
			start = i + 1
		case value[i] == '\\' && quoted && i+1 < len(value):
			i++
		case value[i] == '"':
			quoted = !quoted
		}
	}
	return v
}

func (v vector) index(name string) int {
	return slices.IndexFunc(v, func(p string) bool {
		n, _, _ := strings.Cut(p, "=")
		return strings.EqualFold(strings.TrimSpace(n), name)
	})
}

// get is a parameter's value without quotes, "" if there is none.
func (v vector) get(name string) string {
	i := v.index(name)
	if i < 0 {
		return ""
	}
	_, value, _ := strings.Cut(v[i], "=")
	return strings.Trim(strings.TrimSpace(value), `"`)
}

// set replaces a parameter, or adds it at the end.
func (v *vector) set(name, value string) {
	p := name + "=" + quoteUnlessToken(value)
	if i := v.index(name); i >= 0 {
		if v.get(name) != value {
			(*v)[i] = p
		}
		return
	}
	*v = append(*v, p)
}

func (v *vector) del(name string) {
	if i := v.index(name); i >= 0 {
		*v = slices.Delete(*v, i, i+1)
	}
}

func (v vector) clone() vector { return slices.Clone(v) }

// String is the field's value.
func (v vector) String() string { return strings.Join(v, ";") }

// quoteUnlessToken writes a gen-value (RFC 3261 §25.1): what is no token or host stands in quotes.
func quoteUnlessToken(value string) string {
	for _, c := range value {
		if !(c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || strings.ContainsRune("-.!%*_+`'~", c)) {
			return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(value) + `"`
		}
	}
	return value
}

// newICID makes a charging id, unique in the world and for 30 days at least (RFC 7315 §4.6.1).
func newICID() string { return sipua.NewToken() }
