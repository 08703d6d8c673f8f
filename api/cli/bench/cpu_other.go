//go:build !unix

package bench

import "time"

// processTime is unknown here.
func processTime() time.Duration { return 0 }

// childTime is unknown here.
func childTime() time.Duration { return 0 }
