package files

import (
	"context"
	"io"

	"latchkey"
)

// Place is where the bytes of files lie: a Disk or an S3. It is one vault's alone, so that what no row names can be erased.
type Place interface {
	// create begins the bytes of a file, which has none. taken is closed when its writer must let go.
	create(f latchkey.StoredFile, taken <-chan struct{}) (sink, error)
	// resume goes on behind the n bytes that are there and have gone into s.
	resume(ctx context.Context, f latchkey.StoredFile, s *digest, taken <-chan struct{}) (out sink, n int64, err error)
	// size is how many bytes resume would find.
	size(ctx context.Context, id latchkey.FileID) (int64, error)
	// open reads a file that was finished; fs.ErrNotExist where there is none.
	open(ctx context.Context, id latchkey.FileID) (io.ReadSeekCloser, error)
	// erase leaves nothing of a file. That there was nothing is no error.
	erase(ctx context.Context, id latchkey.FileID) error
	close() // when all that was opened is closed
	// each calls look with the id of everything that lies here.
	each(ctx context.Context, look func(latchkey.FileID)) error
}

// sink takes the bytes of one file. After an error that came with all bytes, they are there all the same.
type sink interface {
	io.Writer
	mark(s *digest)                            // s is of all bytes until now: a chance to write it down
	restart(ctx context.Context) error         // forgets what came
	keep(ctx context.Context, s *digest) error // what came outlives us; resume finds it
	finish(ctx context.Context) error          // every byte came, and outlives us; open reads them
	close()
}

// isID reports whether a name can be that of a file of ours.
func isID(name string) bool { return len(name) == len(latchkey.NewFileID()) }
