package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// bin is the folder with the binaries.
var bin string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	var err error
	if bin, err = os.MkdirTemp("", "medledger-e2e-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(bin)
	for _, target := range []string{".", "./verifier/cmd/medverify"} {
		build := exec.Command("go", "build", "-o", bin+string(filepath.Separator), target)
		build.Dir = filepath.Join("..", "..")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if output, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "building %s: %v\n%s", target, err, output)
			return 1
		}
	}
	return m.Run()
}

// bundles returns the folder with the FHIR bundles.
func bundles(t *testing.T) string {
	t.Helper()
	folder, err := filepath.Abs(filepath.Join("..", "..", "..", "shared", "data", "fhir-r4"))
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(folder, "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		const missing = "no FHIR bundles in ../shared/data/fhir-r4 beside the checkout"
		if os.Getenv("MEDLEDGER_REQUIRE_SERVICES") == "1" {
			t.Fatal(missing)
		}
		t.Skip(missing)
	}
	return folder
}

// run runs a program to its end and returns its output and exit code.
func (tr *transcript) run(t *testing.T, program string, args ...string) (output string, exit int) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), filepath.Join(bin, program), args...).CombinedOutput()
	_, _ = tr.Write(out)
	var failed *exec.ExitError
	if err != nil && !errors.As(err, &failed) {
		t.Fatalf("%s: %v", program, err)
	}
	if failed != nil {
		return string(out), failed.ExitCode()
	}
	return string(out), 0
}

// must is run for what must succeed.
func (tr *transcript) must(t *testing.T, program string, args ...string) string {
	t.Helper()
	output, exit := tr.run(t, program, args...)
	if exit != 0 {
		t.Fatalf("%s %s: exit code %d\n%s", program, strings.Join(args, " "), exit, output)
	}
	return output
}
