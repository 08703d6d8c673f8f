//go:build unix

package load

import (
	"syscall"
	"time"
)

// ProcessTime is how much processor time this process has used so far.
func ProcessTime() time.Duration { return used(syscall.RUSAGE_SELF) }

// ChildTime is how much those of its children used that have ended.
func ChildTime() time.Duration { return used(syscall.RUSAGE_CHILDREN) }

func used(who int) time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(who, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
