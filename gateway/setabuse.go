package gateway

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"latchkey/guest"
)

// longestWindow is how far back invitations are remembered (guest.Desk.Run).
const longestWindow = 30 * 24 * time.Hour

// setTargets reads a list of people.
func setTargets(field func(*Config) *[]guest.Target) func(*Config, string) error {
	return func(c *Config, v string) error {
		for _, s := range list(v) {
			t, err := guest.ParseTarget(s)
			if err != nil {
				return err
			}
			*field(c) = append(*field(c), t)
		}
		return notEmpty(*field(c))
	}
}

// setQuota reads a number and a time, 50/1h, or none.
func setQuota(fields func(*Config) (*int, *time.Duration)) func(*Config, string) error {
	return func(c *Config, v string) error {
		most, window := fields(c)
		if v == "none" {
			*most, *window = 0, 0
			return nil
		}
		number, text, _ := strings.Cut(v, "/")
		n, err := strconv.Atoi(strings.TrimSpace(number))
		if err != nil || n < 1 {
			return fmt.Errorf("%q is neither none nor a number and a time", v)
		}
		d, err := time.ParseDuration(strings.TrimSpace(text))
		if err != nil || d < time.Second || d > longestWindow {
			return fmt.Errorf("%q has no time from 1s to 720h behind the slash", v)
		}
		*most, *window = n, d
		return nil
	}
}

func setOptedOut(c *Config, v string) error {
	return oneOf(v, &c.OptedOut, guest.Silent, guest.Refuse)
}
