package directory_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"latchkey/directory"
)

func Example() {
	hash, err := directory.HashPassword("correct horse")
	if err != nil {
		fmt.Println(err)
		return
	}
	dir, err := os.MkdirTemp("", "directory")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "users.yaml")
	text := fmt.Sprintf("users:\n  - uri: sip:a@cc.com\n    name: Alice\n    password: %s\n    level: 3\n", hash)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		fmt.Println(err)
		return
	}
	file, err := directory.OpenFile(path)
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx := context.Background()
	alice, err := file.Authenticate(ctx, "a@cc.com", "correct horse")
	fmt.Println(alice.Name, alice.Level, alice.State, err)
	_, err = file.Authenticate(ctx, "a@cc.com", "wrong")
	fmt.Println(err)
	// Output:
	// Alice 3 active <nil>
	// unauthorized
}
