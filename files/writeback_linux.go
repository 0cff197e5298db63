package files

import (
	"os"
	"syscall"
)

// writeBack has the kernel begin to write a range of a file, and does not wait. That it can't is no error: Commit syncs all.
func writeBack(f *os.File, from, n int64) {
	const write = 2 // SYNC_FILE_RANGE_WRITE (sync_file_range(2))
	_ = syscall.SyncFileRange(int(f.Fd()), from, n, write)
}
