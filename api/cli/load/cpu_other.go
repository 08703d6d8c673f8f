//go:build !unix

package load

import "time"

// ProcessTime is not known on this system: it is shown as 0.
func ProcessTime() time.Duration { return 0 }

// ChildTime is not known either.
func ChildTime() time.Duration { return 0 }
