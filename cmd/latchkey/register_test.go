package main

import (
	"fmt"
	"os"
	"testing"
)

// R32: what a package puts on a machine for all of its people is what --register writes for one.
func TestPackagersGetTheSameDesktopFiles(t *testing.T) {
	for name, want := range map[string]string{desktopName: fmt.Sprintf(desktopEntry, "latchkey"), mimeName: mimeType} {
		if got, err := os.ReadFile("../../deploy/desktop/" + name); err != nil || string(got) != want {
			t.Errorf("deploy/desktop/%s is %q, %v; want %q", name, got, err, want)
		}
	}
}
