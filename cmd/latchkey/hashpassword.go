package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/pflag"
	"golang.org/x/term"

	"latchkey/directory"
)

const hashPasswordUsage = `Usage: latchkey hash-password [--digest NAME]

Reads a password from the terminal, without showing it, or one line from standard input, and
prints a hash for the password field of the directory file. With --digest it is for the digest
field, by which phones prove themselves that upload files under file-upload: digest; NAME is what
the phone is provisioned with as its user, such as sip:a@cc.com.`

func runHashPassword(_ context.Context, args []string) error {
	flags := pflag.NewFlagSet("hash-password", pflag.ContinueOnError)
	name := flags.String("digest", "", "make the value of the digest field, for this user")
	if err := parse(flags, hashPasswordUsage, args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return usagef("the password is read, not given as an argument, where others could see it; for example latchkey hash-password < password.txt")
	}
	password, err := readPassword(os.Stdin)
	if err != nil {
		return err
	}
	if *name != "" {
		fmt.Println(directory.DigestPassword(*name, password))
		return nil
	}
	hash, err := directory.HashPassword(password)
	if err != nil {
		return err
	}
	fmt.Println(hash)
	return nil
}

// readPassword asks twice on a terminal and takes the first line of anything else.
func readPassword(in *os.File) (string, error) {
	if !term.IsTerminal(int(in.Fd())) {
		line, err := bufio.NewReader(in).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return "", fmt.Errorf("read the password: %w", err)
		}
		return notEmpty(strings.TrimRight(line, "\r\n"))
	}
	ask := func(prompt string) (string, error) {
		fmt.Fprint(os.Stderr, prompt)
		b, err := term.ReadPassword(int(in.Fd()))
		fmt.Fprintln(os.Stderr)
		return string(b), err
	}
	first, err := ask("Password: ")
	if err != nil {
		return "", fmt.Errorf("read the password: %w", err)
	}
	again, err := ask("Once more: ")
	if err != nil {
		return "", fmt.Errorf("read the password: %w", err)
	}
	if first != again {
		return "", errors.New("the two passwords differ")
	}
	return notEmpty(first)
}

func notEmpty(password string) (string, error) {
	if password == "" {
		return "", errors.New("the password is empty")
	}
	return password, nil
}
