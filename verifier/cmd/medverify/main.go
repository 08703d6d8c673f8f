// Command medverify checks a medledger with nothing but its public key:
// 'medverify --help' says how.
package main

import (
	"context"
	"os"
	"os/signal"

	"github.com/medledger/medledger/verifier/medverify"
)

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	info, err := os.Stderr.Stat()
	terminal := err == nil && info.Mode()&os.ModeCharDevice != 0
	return medverify.Run(ctx, os.Args[1:], os.Stdout, os.Stderr, medverify.Env{Terminal: terminal})
}
