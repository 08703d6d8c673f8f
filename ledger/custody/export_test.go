package custody

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"testing"
)

// TestExport moves a key to another folder, in which it opens what it sealed; but not one
// that was destroyed.
func TestExport(t *testing.T) {
	ctx := context.Background()
	folder := func() *Folder {
		f, err := OpenFolder(FolderConfig{Dir: filepath.Join(t.TempDir(), "keys")})
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	a, b := folder(), folder()
	if err := a.Create(ctx, "epoch-0001"); err != nil {
		t.Fatal(err)
	}
	sealed, err := a.Seal(ctx, "epoch-0001", []byte("top"), nil)
	if err != nil {
		t.Fatal(err)
	}
	key, err := a.Export(ctx, "epoch-0001")
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Import(ctx, "epoch-0001", key); err != nil {
		t.Fatal(err)
	}
	if err := b.Import(ctx, "epoch-0001", key); !errors.Is(err, ErrExists) {
		t.Errorf("imported over a key: %v", err)
	}
	if plain, err := b.Open(ctx, "epoch-0001", sealed, nil); err != nil || !bytes.Equal(plain, []byte("top")) {
		t.Errorf("%q, %v", plain, err)
	}
	if err := a.Destroy(ctx, "epoch-0001"); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Export(ctx, "epoch-0001"); !errors.Is(err, ErrNoKey) {
		t.Errorf("exported a destroyed key: %v", err)
	}
	for _, name := range []string{"", "../x", "A"} {
		if _, err := a.Export(ctx, name); !errors.Is(err, ErrName) {
			t.Errorf("exported %q: %v", name, err)
		}
		if err := a.Import(ctx, name, key); !errors.Is(err, ErrName) {
			t.Errorf("imported %q: %v", name, err)
		}
	}
	if err := a.Import(ctx, "short", key[1:]); err == nil {
		t.Error("imported a short key")
	}
	if err := errors.Join(a.Close(), b.Close()); err != nil {
		t.Error(err)
	}
	if _, err := a.Export(ctx, "epoch-0001"); !errors.Is(err, ErrUnavailable) {
		t.Errorf("exported after Close: %v", err)
	}
}
