package gateway

import (
	"fmt"
	"strings"

	"latchkey/files"
	"latchkey/files/icap"
)

// FileScan is who looks at files; at most one field is set.
type FileScan struct {
	Clamd string // host:port, or path of a socket
	ICAP  string // URL of the service
}

func setFileScan(c *Config, v string) error {
	if strings.HasPrefix(v, "icap://") || strings.HasPrefix(v, "icaps://") {
		c.FileScan = FileScan{ICAP: v}
		if _, err := icap.New(v, nil); err != nil {
			return fmt.Errorf("%q %w", v, err)
		}
		return nil
	}
	addr, ok := strings.CutPrefix(v, "clamd:")
	if !ok {
		return fmt.Errorf("%q does not begin with clamd:, icap:// or icaps:// as it must", v)
	}
	c.FileScan = FileScan{Clamd: addr}
	if strings.HasPrefix(addr, "/") {
		return nil
	}
	return checkHostPort(addr)
}

// Scanner is what asks them; nil: nobody. One of ICAP is an io.Closer.
func (s FileScan) Scanner() files.Scanner {
	switch {
	case s.Clamd != "":
		return &files.Clamd{Addr: s.Clamd}
	case s.ICAP != "":
		if c, err := icap.New(s.ICAP, nil); err == nil { // was checked
			return c
		}
	}
	return nil
}
