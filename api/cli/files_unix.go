//go:build unix

package cli

import (
	"math"
	"syscall"
)

// openFiles is how many files and connections the process may have open. Go
// itself raises the soft limit to the hard one.
func openFiles() uint64 {
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) != nil {
		return math.MaxUint64 // not known; what is open will tell
	}
	return uint64(limit.Cur) // FreeBSD has a signed one
}
