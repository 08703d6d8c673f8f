// Command medledger-token keeps the ledger's root keys in a PKCS #11 token and serves
// them on a local socket: 'medledger-token --help' says how. It needs cgo.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/medledger/medledger/ledger/custody/helper"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first signal asks to stop; the second then ends the process at once.
	context.AfterFunc(ctx, stop)
	os.Exit(helper.Main(ctx, os.Args[1:], os.Stdout, os.Stderr))
}
