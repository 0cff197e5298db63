package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"latchkey"
	"latchkey/gateway"
	"latchkey/internal/processors"
)

const serveUsage = `Usage: latchkey serve [options]

Runs the gateway until SIGINT or SIGTERM, then finishes what is in flight and exits; a
second signal ends the wait. SIGHUP reads the configuration again. Accounts and invitations stay.`

func runServe(ctx context.Context, args []string) error {
	config, err := loadConfig(serveUsage, args)
	if err != nil {
		return err
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gateway.GCPercent)
	}
	config.SetTimers()
	log := config.Log.Logger(os.Stderr)
	g, err := gateway.New(config, log)
	if err != nil {
		return err
	}

	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)

	pacing, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	go processors.Follow(pacing)

	ended := make(chan error, 1)
	go func() { ended <- g.Run(context.WithoutCancel(ctx)) }() // ends with Shutdown
	for {
		select {
		case err := <-ended:
			return err
		case <-hangup:
			reload(g, args)
		case <-ctx.Done():
			log.Info("draining; a second signal ends the wait")
			if err := drain(g); err != nil {
				return err
			}
			return <-ended
		}
	}
}

// drain shuts down and waits until it is done or a signal ends the wait.
func drain(g *gateway.Gateway) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	err := g.Shutdown(ctx)
	if err != nil && ctx.Err() != nil {
		return errors.New("stopped by a second signal before all was finished")
	}
	if err != nil {
		return fmt.Errorf("shut down: %w", err)
	}
	return nil
}

// reload takes the new configuration or, where it is wrong, goes on with the old one.
func reload(g *gateway.Gateway, args []string) {
	config, err := gateway.Load(args, os.Getenv)
	log := config.Log.Logger(os.Stderr)
	if err == nil {
		err = g.Reload(config)
	}
	if err != nil {
		log.Error("configuration not reloaded; the old one stays in force", latchkey.LogError, err)
		return
	}
	log.Info("configuration reloaded")
}
