//go:build !unix

package cli

import "math"

// openFiles is how many files and connections the process may have open: here
// there is no such limit.
func openFiles() uint64 { return math.MaxUint64 }
