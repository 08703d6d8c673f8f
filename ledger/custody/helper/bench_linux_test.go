package helper_test

import (
	"testing"

	"github.com/medledger/medledger/ledger/custody/custodytest/softhsm"
)

// BenchmarkHelper is what a call of the ledger takes: token, helper and socket.
func BenchmarkHelper(b *testing.B) {
	softhsm.Benchmark(b, softhsm.Start(b))
}
