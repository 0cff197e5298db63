package imstest

import (
	"bytes"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Bucket is one bucket of an S3-compatible store that nobody here wrote: VersityGW over a directory, on 127.0.0.1.
type Bucket struct {
	Addr, Name    string
	KeyID, Secret string

	t       testing.TB
	program string
	dir     string
	cmd     *exec.Cmd
	over    chan struct{} // closed when cmd has ended
}

// NewBucket starts a store with an empty bucket, which ends with the test. Without the program the test is skipped, or fails in CI.
func NewBucket(t testing.TB) *Bucket {
	t.Helper()
	b := &Bucket{Name: "chat-files", KeyID: "AKIATEST", Secret: "s3cr3t/with+signs", t: t, dir: t.TempDir()}
	tools := os.Getenv("LATCHKEY_TOOLS")
	if cache, err := os.UserCacheDir(); tools == "" && err == nil {
		tools = filepath.Join(cache, "latchkey", "tools")
	}
	b.program = filepath.Join(tools, "versitygw")
	if _, err := os.Stat(b.program); err != nil {
		if b.program, err = exec.LookPath("versitygw"); err != nil {
			const how = "versitygw is missing; get it by: ./test.sh ./files/..."
			if os.Getenv("CI") == "true" {
				t.Fatal(how)
			}
			t.Skip(how)
		}
	}
	for _, d := range []string{b.root(), b.folder(), filepath.Join(b.dir, "side")} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(b.Stop)
	// Somebody else may take a port between its choice and its use.
	for range 5 {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		b.Addr = ln.Addr().String()
		_ = ln.Close()
		if b.start() {
			return b
		}
	}
	t.Fatal("versitygw does not start")
	return nil
}

func (b *Bucket) root() string   { return filepath.Join(b.dir, "root") }
func (b *Bucket) folder() string { return filepath.Join(b.root(), b.Name) }

// Start starts the store again where it was.
func (b *Bucket) Start() {
	b.t.Helper()
	if !b.start() {
		b.t.Fatal("versitygw does not start again")
	}
}

func (b *Bucket) start() bool {
	b.t.Helper()
	var log bytes.Buffer
	cmd := exec.Command(b.program, "--port", b.Addr, "--access", b.KeyID, "--secret", b.Secret, "--quiet", "posix", "--sidecar", filepath.Join(b.dir, "side"), b.root())
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	over := make(chan struct{})
	go func() { // ends with the process
		_ = cmd.Wait()
		close(over)
	}()
	b.cmd, b.over = cmd, over
	up := false
	Eventually(b.t, 20*time.Second, func() bool {
		select {
		case <-over:
			b.t.Logf("versitygw: %s", log.Bytes())
			return true
		default:
		}
		c, err := net.Dial("tcp", b.Addr)
		if up = err == nil; up {
			_ = c.Close()
		}
		return up
	})
	return up
}

// Stop ends the store, as a crash does.
func (b *Bucket) Stop() {
	if b.cmd == nil {
		return
	}
	_ = b.cmd.Process.Kill()
	<-b.over
	b.cmd = nil
}

// Objects are the keys of the objects, as the disk of the store shows them.
func (b *Bucket) Objects() (keys []string) {
	b.t.Helper()
	b.walk(func(path string) {
		if !strings.HasPrefix(path, ".") {
			keys = append(keys, path)
		}
	})
	return keys
}

// Parts counts the parts of uploads that are open.
func (b *Bucket) Parts() (n int) {
	b.t.Helper()
	b.walk(func(path string) {
		if strings.HasPrefix(path, ".sgwtmp/multipart/") {
			n++
		}
	})
	return n
}

func (b *Bucket) walk(see func(path string)) {
	b.t.Helper()
	err := filepath.WalkDir(b.folder(), func(path string, d fs.DirEntry, err error) error {
		if os.IsNotExist(err) {
			return nil // it has just been deleted
		}
		if err == nil && !d.IsDir() {
			rel, _ := filepath.Rel(b.folder(), path)
			see(filepath.ToSlash(rel))
		}
		return err
	})
	if err != nil {
		b.t.Fatal(err)
	}
}

// Put stores an object beside those of the product.
func (b *Bucket) Put(key, content string) {
	b.t.Helper()
	path := filepath.Join(b.folder(), filepath.FromSlash(key))
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		b.t.Fatal(err)
	}
}
