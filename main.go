// Medledger is an event-sourced provenance ledger for medical records.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/medledger/medledger/api/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first signal asks to stop; the second then ends the process at once.
	context.AfterFunc(ctx, stop)
	os.Exit(cli.Main(ctx, os.Args[1:], os.Stdout, os.Stderr))
}
