// Command latchkey is the gateway and the tools around it.
//
// It owns flags, signals, exit codes and what people read in a terminal, and decides
// nothing else: `latchkey serve` runs package gateway, `latchkey guest` runs package
// guestclient. Exit codes: 0 done, 1 failed at run time, 2 wrong usage.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/pflag"

	"latchkey/gateway"
)

// command is one verb. run gets a context that ends at the first SIGINT or SIGTERM.
type command struct {
	name, about string
	run         func(ctx context.Context, args []string) error
}

func commands() []command {
	return []command{
		{"serve", "run the gateway", runServe},
		{"demo", "run the gateway with everything around it on one machine", runDemo},
		{"guest", "be a guest in this terminal: latchkey guest LINK", runGuest},
		{"check", "validate the configuration and try each peer once", runCheck},
		{"hash-password", "make a password hash for the directory file", runHashPassword},
		{"version", "say which build this is", runVersion},
	}
}

// usageError is a mistake in the arguments: exit code 2.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

func main() {
	os.Exit(run(os.Args[1:]))
}

func run(args []string) int {
	if len(args) == 0 {
		overview(os.Stderr)
		return 2
	}
	switch args[0] {
	case "-h", "--help", "help":
		overview(os.Stdout)
		return 0
	case "--version":
		args[0] = "version"
	}
	for _, c := range commands() {
		if c.name != args[0] {
			continue
		}
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
		defer stop()
		return exitCode(os.Stderr, c.name, c.run(ctx, args[1:]))
	}
	fmt.Fprintf(os.Stderr, "latchkey: %q is not a command; for example latchkey serve, and latchkey --help lists all\n", args[0])
	return 2
}

// exitCode says what went wrong, in one line, and which code that is.
func exitCode(w io.Writer, name string, err error) int {
	switch {
	case err == nil, errors.Is(err, gateway.ErrHelp):
		return 0
	case errors.Is(err, errTold):
		return 1
	}
	fmt.Fprintf(w, "latchkey %s: %v\n", name, err)
	if _, ok := errors.AsType[usageError](err); ok {
		return 2
	}
	return 1
}

// errTold is a failure about which the command has said everything itself.
var errTold = errors.New("failed")

func overview(w io.Writer) {
	fmt.Fprint(w, "Latchkey lets RCS users talk with people who have no RCS account.\n\nUsage: latchkey COMMAND [options]\n\n")
	for _, c := range commands() {
		fmt.Fprintf(w, "  %-14s %s\n", c.name, c.about)
	}
	fmt.Fprint(w, "\nlatchkey COMMAND --help says more.\n")
}

// parse reads a command's own flags. Asked for help, it prints usage and flags and
// returns gateway.ErrHelp, which ends the command well.
func parse(flags *pflag.FlagSet, usage string, args []string) error {
	flags.SetOutput(io.Discard)
	flags.Usage = func() {}
	err := flags.Parse(args)
	if errors.Is(err, pflag.ErrHelp) {
		help(usage, flags)
		return err
	}
	if err != nil {
		return usagef("%w; latchkey %s --help shows what there is", err, flags.Name())
	}
	return nil
}

func help(usage string, flags *pflag.FlagSet) {
	fmt.Println(usage)
	if flags.HasFlags() {
		fmt.Printf("\nOptions:\n%s", flags.FlagUsages())
	}
}

// loadConfig reads the gateway's options for the commands that take them.
func loadConfig(usage string, args []string) (gateway.Config, error) {
	config, err := gateway.Load(args, os.Getenv)
	if errors.Is(err, gateway.ErrHelp) {
		help(usage+"\n\nEach option is also an environment variable (--http-listen is LATCHKEY_HTTP_LISTEN) and a\nkey of the YAML file given by --config. A flag wins over the environment, that over the file.", gateway.NewFlags("latchkey"))
		return config, err
	}
	if err != nil {
		return config, usageError{err}
	}
	return config, nil
}
