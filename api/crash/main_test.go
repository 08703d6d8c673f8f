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
