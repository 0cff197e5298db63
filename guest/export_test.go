package guest

import "latchkey/internal/secret"

// CountMatches has compared called before each comparison of a password.
func (d *Desk) CountMatches(compared func()) {
	d.matches = func(h secret.Hash, password string) bool {
		compared()
		return h.Matches(password)
	}
}
