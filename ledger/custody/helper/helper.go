// Package helper is medledger-token as a library: the process that has a PKCS #11
// token open and serves it on a local socket. The PIN and what is sealed pass through
// its memory, so the first thing that it does is to forbid images of that.
//
// stdout has the line that says that it is ready, or the findings of --check; stderr
// has messages. The exit code is
//
//	0  stopped as asked, or the token is usable
//	1  failed; stderr says why
//	2  the arguments make no sense; nothing was done
//	3  the token did not accept the PIN. Do not start it again before that is mended:
//	   tokens lock themselves after a few tries
package helper

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/medledger/medledger/ledger/custody/pkcs11"
	"github.com/medledger/medledger/ledger/custody/token"
)

// The exit codes.
const (
	Done   = 0
	Failed = 1
	Usage  = 2
	PIN    = 3
)

// Main runs a command line, without the program's name, until it is done or ctx ends.
// It is for one call in a process, which it changes for good.
func Main(ctx context.Context, args []string, out, messages io.Writer) int {
	o, err := parse(args)
	switch {
	case errors.Is(err, errHelp):
		if _, err := io.WriteString(out, usage); err != nil {
			return Failed
		}
		return Done
	case err != nil:
		// A closed standard error leaves nobody to tell, here and below.
		_, _ = fmt.Fprintf(messages, "medledger-token: %v; 'medledger-token --help' says how to call it\n", err)
		return Usage
	}
	if err = harden(); err == nil {
		if o.check {
			err = check(ctx, o, out)
		} else {
			err = serve(ctx, o, out, messages)
		}
	}
	if err == nil {
		return Done
	}
	_, _ = fmt.Fprintf(messages, "medledger-token: %v\n", err)
	if errors.Is(err, pkcs11.ErrPIN) {
		return PIN
	}
	return Failed
}

// config is the token that the options name.
func (o *options) config() pkcs11.Config {
	return pkcs11.Config{
		Module: o.module, Label: o.label, Slot: o.slot,
		PIN: func() ([]byte, error) { return readPIN(o.pinFile) },
	}
}

// serve serves the token until ctx ends.
func serve(ctx context.Context, o *options, out, messages io.Writer) (err error) {
	keys, err := pkcs11.Open(ctx, o.config())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, keys.Close()) }()
	server, err := token.Listen(token.ServerConfig{
		Custody: keys, Socket: o.socket, AllowUIDs: o.allow, Group: o.group,
		Log: slog.New(slog.NewTextHandler(messages, nil)),
	})
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(out, "medledger-token: ready on %s\n", o.socket); err != nil {
		// Whoever waits for the line would wait for ever.
		return errors.Join(fmt.Errorf("saying that it is ready: %w", err), server.Close())
	}
	return server.Serve(ctx)
}

// check says whether the token is usable.
func check(ctx context.Context, o *options, out io.Writer) error {
	var writeErr error
	err := pkcs11.Check(ctx, o.config(), func(what, found string) {
		_, err := fmt.Fprintf(out, "%-11s %s\n", what, found)
		writeErr = errors.Join(writeErr, err)
	})
	if err != nil {
		return err
	}
	if writeErr != nil {
		return fmt.Errorf("writing the findings: %w", writeErr)
	}
	_, err = fmt.Fprintln(out, "the token is usable")
	return err
}
