package bench

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// processUsage is what another process has used so far.
type processUsage struct {
	cpu      time.Duration // user and system
	resident resident
}

// resident is how much memory a process has in use and had at most, in bytes.
type resident struct{ Now, Peak uint64 }

// errNoProc says that the system does not tell what other processes use.
var errNoProc = errors.New("/proc does not tell what the service uses; run the benchmark on Linux")

// ticks is how many of a process's clock ticks there are in a second: what
// sysconf(_SC_CLK_TCK) says on every Linux that Go runs on.
const ticks = 100

// usageOf reads what a process has used, from Linux's /proc.
func usageOf(pid int) (u processUsage, err error) {
	dir := "/proc/" + strconv.Itoa(pid)
	raw, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return u, fmt.Errorf("%w: %w", errNoProc, err)
	}
	// pid (name) state ppid ...: the name may hold anything, also parentheses. After
	// it, utime and stime are fields 12 and 13.
	text := string(raw)
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	if len(fields) < 13 {
		return u, errNoProc
	}
	for _, field := range fields[11:13] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return u, errNoProc
		}
		u.cpu += time.Duration(n) * time.Second / ticks
	}
	for name, to := range map[string]*uint64{"VmRSS": &u.resident.Now, "VmHWM": &u.resident.Peak} {
		kib, err := strconv.ParseUint(strings.TrimSuffix(procField(dir+"/status", name), " kB"), 10, 64)
		if err != nil {
			return u, errNoProc
		}
		*to = kib << 10
	}
	return u, nil
}
