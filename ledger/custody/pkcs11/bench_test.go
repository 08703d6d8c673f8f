//go:build cgo && linux

package pkcs11

import (
	"testing"

	"github.com/medledger/medledger/ledger/custody/custodytest/softhsm"
)

// BenchmarkToken is what the token itself takes, without helper and socket.
func BenchmarkToken(b *testing.B) {
	c, _ := newConfig(b)
	k, err := Open(b.Context(), c)
	if err != nil {
		b.Fatal(err)
	}
	defer k.Close()
	softhsm.Benchmark(b, k)
}
