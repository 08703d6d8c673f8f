package helper

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// harden forbids core dumps and that others look into this process, before there is
// anything in it to be seen. Memory is not locked: Go reserves much more than it uses,
// and the system would refuse; the unit of deploy/small forbids swapping it instead.
func harden() error {
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("forbidding core dumps: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("closing the process's memory to others: %w", err)
	}
	return nil
}
