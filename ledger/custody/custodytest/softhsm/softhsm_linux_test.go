package softhsm

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// TestStart is what the package's comment promises.
func TestStart(t *testing.T) {
	keys := Start(t)
	if err := keys.Create(t.Context(), "root-1"); err != nil {
		t.Fatal(err)
	}
	sealed, err := keys.Seal(t.Context(), "root-1", []byte("key"), nil)
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(keys.Token.Objects, "*", "*.object"))
	if err != nil || len(files) != 2 { // the token itself, and the key
		t.Errorf("the token's folder has %q, %v", files, err)
	}
	keys.Kill(t)
	keys.Helper.Start(t)
	if got, err := keys.Open(t.Context(), "root-1", sealed, nil); err != nil || !bytes.Equal(got, []byte("key")) {
		t.Errorf("opened %q, %v", got, err)
	}
	if got, err := keys.Dial(t).Names(t.Context()); err != nil || len(got) != 1 {
		t.Errorf("names %q, %v", got, err)
	}
	if _, err := os.Stat(keys.Socket); err != nil {
		t.Error(err)
	}
}
