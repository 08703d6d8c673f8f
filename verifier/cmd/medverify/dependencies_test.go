package main

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const module = "github.com/medledger/medledger/"

// allowed are the packages outside the standard library that the auditor's
// binary is made of, each with the reason why it is trusted. Somebody who wants
// to read everything that judges a log reads these. A package ending in /... is
// allowed with all below it.
var allowed = map[string]string{
	module + "events":                "the types of event, data without behaviour",
	module + "verifier/...":          "the verifier itself",
	"golang.org/x/mod/sumdb/note":    "signed notes, as the Go checksum database has them",
	"golang.org/x/mod/sumdb/tlog":    "RFC 6962 hashes and proofs, of the same origin",
	"github.com/veraison/go-cose":    "COSE signatures (RFC 9052)",
	"github.com/fxamacker/cbor/v2":   "CBOR, which go-cose is written on",
	"github.com/x448/float16":        "half-precision numbers, which cbor needs",
	"vendor/golang.org/x/crypto/...": "the standard library's own copy",
	"vendor/golang.org/x/net/...":    "the standard library's own copy",
	"vendor/golang.org/x/sys/...":    "the standard library's own copy",
	"vendor/golang.org/x/text/...":   "the standard library's own copy",
}

// effects are the packages by which code reaches the world. The library must not
// import them itself; package medverify and the command are the edge.
var effects = map[string]string{
	"net":          "a network",
	"net/http":     "a network",
	"os":           "a disk and an environment",
	"os/exec":      "other programs",
	"os/signal":    "signals",
	"syscall":      "everything",
	"plugin":       "foreign code",
	"crypto/rand":  "chance",
	"math/rand":    "chance",
	"math/rand/v2": "chance",
}

// clocks are what package time must not be used for.
var clocks = map[string]bool{
	"Now": true, "Since": true, "Until": true, "Sleep": true, "After": true,
	"AfterFunc": true, "Tick": true, "NewTimer": true, "NewTicker": true,
}

// pkg is what go list says of a package.
type pkg struct {
	ImportPath string
	Dir        string
	Standard   bool
	GoFiles    []string
	CgoFiles   []string
	Imports    []string
}

func list(t *testing.T, args ...string) []pkg {
	t.Helper()
	command := exec.Command("go", append([]string{"list", "-json=ImportPath,Dir,Standard,GoFiles,CgoFiles,Imports"}, args...)...)
	command.Env = append(command.Environ(), "CGO_ENABLED=0")
	var stderr strings.Builder
	command.Stderr = &stderr
	out, err := command.Output()
	if err != nil {
		t.Fatalf("go list %v: %v\n%s", args, err, stderr.String())
	}
	var packages []pkg
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatalf("go list %v: %v", args, err)
		}
		packages = append(packages, p)
	}
}

// entry returns the entry of allowed that covers a package.
func entry(path string) (string, bool) {
	if _, ok := allowed[path]; ok {
		return path, true
	}
	for name := range allowed {
		if above, ok := strings.CutSuffix(name, "/..."); ok && strings.HasPrefix(path, above+"/") {
			return name, true
		}
	}
	return "", false
}

// TestDependencies holds the binary against the list, both ways.
func TestDependencies(t *testing.T) {
	used := make(map[string]bool)
	for _, p := range list(t, "-deps", ".") {
		if p.Standard {
			if name, ok := entry(p.ImportPath); ok {
				used[name] = true
			}
			continue
		}
		name, ok := entry(p.ImportPath)
		if !ok {
			t.Errorf("%s is not on the list: the auditor's binary must stay small enough to read", p.ImportPath)
		}
		if len(p.CgoFiles) > 0 {
			t.Errorf("%s needs cgo", p.ImportPath)
		}
		used[name] = true
	}
	for name := range allowed {
		if !used[name] {
			t.Errorf("%s is on the list and not used any more", name)
		}
	}
}

// TestLibraryIsPure finds what would let the library reach a network, a disk, a
// clock or chance.
func TestLibraryIsPure(t *testing.T) {
	checked := 0
	for _, p := range list(t, module+"verifier/...") {
		name := strings.TrimPrefix(p.ImportPath, module+"verifier/")
		if name == "medverify" || strings.HasPrefix(name, "cmd/") {
			continue
		}
		checked++
		for _, imported := range p.Imports {
			if what, ok := effects[imported]; ok {
				t.Errorf("verifier/%s imports %s, and with it %s", name, imported, what)
			}
			own := strings.HasPrefix(imported, module)
			if own && imported != module+"events" && !strings.HasPrefix(imported, module+"verifier/") {
				t.Errorf("verifier/%s imports %s, which lies above it", name, imported)
			}
		}
		for _, file := range p.GoFiles {
			findClocks(t, filepath.Join(p.Dir, file))
		}
	}
	if checked < 8 {
		t.Errorf("only %d packages were looked at", checked)
	}
}

func findClocks(t *testing.T, file string) {
	t.Helper()
	fset := token.NewFileSet()
	parsed, err := parser.ParseFile(fset, file, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(parsed, func(n ast.Node) bool {
		selector, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if x, ok := selector.X.(*ast.Ident); ok && x.Name == "time" && clocks[selector.Sel.Name] {
			t.Errorf("%s uses time.%s", fset.Position(n.Pos()), selector.Sel.Name)
		}
		return true
	})
}
