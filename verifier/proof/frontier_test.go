package proof_test

import (
	"bytes"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/medledger/medledger/verifier/audit/audittest"
	"github.com/medledger/medledger/verifier/proof"
)

// TestFrontier compares the incremental root with RFC 6962's definition.
func TestFrontier(t *testing.T) {
	var frontier, leaves []tlog.Hash
	for size := range uint64(600) {
		if got, want := proof.FrontierRoot(frontier), audittest.Root(leaves); got != want {
			t.Fatalf("root of %d leaves is %v, want %v", size, got, want)
		}
		leaf := proof.LeafHash([]byte{byte(size), byte(size >> 8)})
		frontier, leaves = proof.Grow(frontier, size, leaf), append(leaves, leaf)
	}
}

// TestSplitNotes cuts joined checkpoints apart, with any number of signatures, and
// leaves no byte out of what is no such file.
func TestSplitNotes(t *testing.T) {
	const a, b = "origin\n1\nroot\n\n— origin AAAA\n", "origin/state\n1\nroot\n\n— origin/state AAAA\n— witness BBBB\n"
	for _, c := range []struct {
		file string
		want []string
	}{
		{"", nil}, {a, []string{a}}, {b, []string{b}}, {a + b, []string{a, b}}, {b + a, []string{b, a}}, {a + b + a, []string{a, b, a}},
		{"hello", []string{"hello"}}, {a + "\n", []string{a, "\n"}}, {a + "x", []string{a, "x"}}, {"— \n— \n\n— ", []string{"— \n— \n", "\n— "}},
	} {
		got := proof.SplitNotes([]byte(c.file))
		if len(got) != len(c.want) {
			t.Errorf("%q is cut into %q", c.file, got)
			continue
		}
		for i := range got {
			if string(got[i]) != c.want[i] {
				t.Errorf("%q is cut into %q", c.file, got)
			}
		}
	}
}

func FuzzSplitNotes(f *testing.F) {
	f.Add([]byte("origin\n1\nroot\n\n— origin AAAA\norigin\n"))
	f.Fuzz(func(t *testing.T, file []byte) {
		if got := bytes.Join(proof.SplitNotes(file), nil); !bytes.Equal(got, file) {
			t.Errorf("%q is cut into %q", file, got)
		}
	})
}

func TestPeekCheckpoint(t *testing.T) {
	h := audittest.New("a").Open()
	signed := h.Serve()["checkpoint"]
	c, err := proof.PeekCheckpoint(signed)
	if want, _ := proof.VerifyCheckpoint(signed, h.Verifier); err != nil || c != want {
		t.Errorf("%+v, %v", c, err)
	}
	for _, bad := range []string{"", "hello", string(signed[:20]), "a\n1\n\n— a AAAA\n"} {
		if c, err := proof.PeekCheckpoint([]byte(bad)); err == nil {
			t.Errorf("%q is read as %+v", bad, c)
		}
	}
}
