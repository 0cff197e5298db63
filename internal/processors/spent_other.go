//go:build !unix

package processors

import "time"

func spent() (time.Duration, bool) { return 0, false }
