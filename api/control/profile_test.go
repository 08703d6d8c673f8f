package control_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/medledger/medledger/api/control"
)

func TestProfile(t *testing.T) {
	dir, s := serve(t, new(fake))
	cpu, heap := filepath.Join(t.TempDir(), "cpu"), filepath.Join(t.TempDir(), "heap")
	if err := control.BeginProfile(t.Context(), dir, filepath.Join(t.TempDir(), "absent", "cpu")); err == nil {
		t.Error("a profile is written into a folder that is not there")
	}
	if err := control.BeginProfile(t.Context(), dir, cpu); err != nil {
		t.Fatal(err)
	}
	if err := control.BeginProfile(t.Context(), dir, cpu+"-2"); err == nil {
		t.Error("two profiles at a time")
	}
	if err := control.EndProfile(t.Context(), dir, heap); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{cpu, heap} {
		raw, err := os.ReadFile(name)
		if err != nil || !bytes.HasPrefix(raw, []byte{0x1f, 0x8b}) { // gzip, as profiles are
			t.Errorf("%s: %d bytes, %v", filepath.Base(name), len(raw), err)
		}
		if info, err := os.Stat(name); err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s is for others too: %v", filepath.Base(name), info.Mode())
		}
	}
	// One that nobody ends ends with the server.
	if err := control.BeginProfile(t.Context(), dir, cpu); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if raw, err := os.ReadFile(cpu); err != nil || len(raw) == 0 {
		t.Errorf("the profile of a server that was closed: %d bytes, %v", len(raw), err)
	}
}
