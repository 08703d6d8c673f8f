//go:build !cgo

package pkcs11

import (
	"context"
	"errors"

	"github.com/medledger/medledger/ledger/custody"
)

var errNoCgo = errors.New("this program was built without cgo and cannot load a PKCS #11 module; run medledger-token, which is built with CGO_ENABLED=1")

// Open opens a token, which takes cgo.
func Open(context.Context, Config) (custody.Custody, error) { return nil, errNoCgo }

// Check tells whether a token is usable, which takes cgo.
func Check(context.Context, Config, func(what, found string)) error { return errNoCgo }
