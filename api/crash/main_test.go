// Package crash kills the real medledger under load, again and again, and holds
// the ledger to everything that it had promised. It has tests only.
//
// One ledger lives through all rounds. A round starts `medledger bench --load`
// on it, kills it at a random moment (while it opens the ledger or while it works)
// and opens the ledger again. Then every acknowledged event must be in the log at
// its index with its bytes, contents that were acknowledged must open, what was
// refused without a trace must have left none, started destructions must be
// complete, and medverify must find nothing false, against the checkpoint of the
// round before as well.
//
// The normal run has 5 rounds. MEDLEDGER_LONG=1 makes them 200,
// MEDLEDGER_CRASH_ROUNDS any number, and MEDLEDGER_CRASH_SEED repeats the times of
// an earlier run. What the kills interrupt is not repeatable.
//
// A killed process leaves the operating system's caches whole, so this says
// nothing of power failures: for those, the fault tables of each package fail and
// forget writes one by one.
package crash

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// The programs under test.
var medledger, medverify string

func TestMain(m *testing.M) {
	code, err := buildAndRun(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func buildAndRun(m *testing.M) (code int, err error) {
	dir, err := os.MkdirTemp("", "medledger-crash-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	medledger, medverify = filepath.Join(dir, "medledger"), filepath.Join(dir, "medverify")
	for path, pkg := range map[string]string{medledger: "../..", medverify: "../../verifier/cmd/medverify"} {
		cmd := exec.Command("go", "build", "-o", path, pkg)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return 1, fmt.Errorf("building %s: %w\n%s", pkg, err, out)
		}
	}
	return m.Run(), nil
}
