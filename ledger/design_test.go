package ledger_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/mod/modfile"
)

// TestDependencies holds the table of DESIGN.md against go.mod: every module that is
// imported stands in it with its version, and why.
func TestDependencies(t *testing.T) {
	raw, err := os.ReadFile("../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	mod, err := modfile.Parse("go.mod", raw, nil)
	if err != nil {
		t.Fatal(err)
	}
	design, err := os.ReadFile("DESIGN.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(design), "## Dependencies")
	table, _, _ = strings.Cut(table, "\n## ")
	imported := 0
	for _, r := range mod.Require {
		if r.Indirect {
			continue
		}
		imported++
		if name := strings.TrimPrefix(r.Mod.Path, "github.com/") + " " + r.Mod.Version; !strings.Contains(table, name+",") && !strings.Contains(table, name+" |") {
			t.Errorf("the table of dependencies lacks %s", name)
		}
	}
	if versions := len(regexp.MustCompile(` v\d`).FindAllString(table, -1)); versions != imported {
		t.Errorf("%d versions stand in it, %d modules are imported", versions, imported)
	}
	for _, tool := range mod.Tool {
		found := false
		for _, r := range mod.Require {
			found = found || strings.HasPrefix(tool.Path, r.Mod.Path+"/") && strings.Contains(table, r.Mod.Path)
		}
		if !found {
			t.Errorf("it lacks the tool %s", tool.Path)
		}
	}
}
