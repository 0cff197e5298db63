package main

import (
	"context"
	"log/slog"
	"os"

	"github.com/spf13/pflag"

	"latchkey/cmd/latchkey/internal/demo"
)

const demoUsage = `Usage: latchkey demo [options]

Runs everything on this machine: a SIP core, the RCS phones of a dozen people, a mail server, centres
for SMS and MMS, and the gateway. It prints its links and what to click. Ctrl-C stops it; nothing is
left behind.`

func runDemo(ctx context.Context, args []string) error {
	var opt demo.Options
	flags := pflag.NewFlagSet("demo", pflag.ContinueOnError)
	flags.StringVar(&opt.HTTPListen, "http-listen", "", "address of the guest's page (default 127.0.0.1:8080, or a free port)")
	flags.StringVar(&opt.Listen, "pages-listen", "", "address of Alice's phone and the mailbox (default 127.0.0.1:8082, or a free port)")
	verbose := flags.Bool("verbose", false, "log what the gateway does")
	if err := parse(flags, demoUsage, args); err != nil {
		return err
	}
	opt.Log = slog.New(slog.DiscardHandler)
	if *verbose {
		opt.Log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	return demo.Run(ctx, os.Stdout, opt)
}
