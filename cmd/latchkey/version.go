package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"

	"github.com/spf13/pflag"
)

func runVersion(_ context.Context, args []string) error {
	flags := pflag.NewFlagSet("version", pflag.ContinueOnError)
	if err := parse(flags, "Usage: latchkey version", args); err != nil {
		return err
	}
	build, _ := debug.ReadBuildInfo()
	printVersion(os.Stdout, build)
	return nil
}

func printVersion(w io.Writer, build *debug.BuildInfo) {
	version, revision, dirty := "(unknown)", "", ""
	if build != nil {
		version = build.Main.Version
		for _, s := range build.Settings {
			switch {
			case s.Key == "vcs.revision":
				revision = " " + s.Value
			case s.Key == "vcs.modified" && s.Value == "true":
				dirty = " with local changes"
			}
		}
	}
	fmt.Fprintf(w, "latchkey %s%s%s %s %s/%s\n", version, revision, dirty, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
