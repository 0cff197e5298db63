//go:build !linux

package files

import "os"

// writeBack is for Linux.
func writeBack(*os.File, int64, int64) {}
