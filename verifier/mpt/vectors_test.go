package mpt_test

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/medledger/medledger/verifier/mpt"
)

// line is a line of a file with torchwood's test vectors.
type line struct {
	number        int
	name          string
	argument, and []byte
	text          string // the first argument
}

// vectors reads torchwood's test vectors.
func vectors(t *testing.T, name string) []line {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "..", "..", "shared", "data", "mpt", name))
	if err != nil {
		const missing = "no test vectors of torchwood's mpt in ../shared/data/mpt beside the checkout"
		if os.Getenv("MEDLEDGER_REQUIRE_SERVICES") == "1" {
			t.Fatal(missing)
		}
		t.Skip(missing)
	}
	var list []line
	scanner := bufio.NewScanner(bytes.NewReader(data))
	for n := 1; scanner.Scan(); n++ {
		text, first := scanner.Text(), n
		for strings.HasSuffix(text, "\\") && scanner.Scan() {
			text = strings.TrimSuffix(text, "\\") + scanner.Text()
			n++
		}
		if text == "" || text[0] == '#' {
			continue
		}
		l := line{number: first}
		l.name, text, _ = strings.Cut(text, " ")
		l.text = text
		if l.name == "kv" {
			key, value, _ := strings.Cut(text, " ")
			l.argument, l.and = unhex(t, key), unhex(t, value)
		} else if !strings.HasPrefix(l.name, "verify") && text != "-" {
			l.argument = unhex(t, text)
		}
		list = append(list, l)
	}
	return list
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.NewReplacer(" ", "", "\t", "", "''", "").Replace(s))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestTreeVectors(t *testing.T) {
	tree, trees := new(mpt.Tree), 0
	for _, l := range vectors(t, "treehash.txt") {
		switch l.name {
		case "kv":
			set(t, tree, l.argument, l.and)
		case "hash":
			if got := tree.Root(); got != mpt.Hash(l.argument) {
				t.Errorf("line %d: root %x", l.number, got)
			}
			tree = new(mpt.Tree)
			trees++
		default:
			t.Fatalf("line %d: %q", l.number, l.name)
		}
	}
	if trees != 32 {
		t.Errorf("%d trees", trees)
	}
}

func TestVerifyVectors(t *testing.T) {
	var root, hash mpt.Hash
	var key, value, prefix, proof []byte
	var present bool
	count := 0
	for _, l := range vectors(t, "verify.txt") {
		var err error
		switch l.name {
		case "snap":
			root = mpt.Hash(l.argument)
		case "key":
			key = l.argument
		case "val":
			value, present = l.argument, l.text != "-"
		case "proof":
			proof = l.argument
		case "prefix":
			prefix = l.argument
		case "hash":
			hash = mpt.Hash(l.argument)
		case "verify":
			err = mpt.VerifyLookup(root, key, value, present, proof)
		case "verifyprefix":
			err = mpt.VerifyPrefix(root, prefix, hash, proof)
		default:
			t.Fatalf("line %d: %q", l.number, l.name)
		}
		if strings.HasPrefix(l.name, "verify") {
			count++
			if (err == nil) != (l.text == "true") {
				t.Errorf("line %d: %v, want it to verify: %s", l.number, err, l.text)
			}
		}
	}
	if count != 121 {
		t.Errorf("%d proofs", count)
	}
}

func TestPrefixVectors(t *testing.T) {
	tree, done := new(mpt.Tree), false
	var entries []entry
	var root, hash mpt.Hash
	var prefix []byte
	count := 0
	for _, l := range vectors(t, "prefix.txt") {
		switch l.name {
		case "kv":
			if done {
				tree, entries, done = new(mpt.Tree), nil, false
			}
			set(t, tree, l.argument, l.and)
			entries = append(entries, entry{l.argument, l.and})
		case "snap":
			if done {
				tree, entries = new(mpt.Tree), nil
			}
			if root, done = mpt.Hash(l.argument), true; tree.Root() != root {
				t.Errorf("line %d: root %x", l.number, tree.Root())
			}
		case "prefix":
			prefix = l.argument
		case "hash":
			hash = mpt.Hash(l.argument)
		case "proof":
			count++
			gotHash, gotProof := tree.ProvePrefix(prefix)
			if gotHash != hash || !bytes.Equal(gotProof, l.argument) {
				t.Errorf("line %d: prefix %x: hash %x, proof %x", l.number, prefix, gotHash, gotProof)
			}
			if naiveHash(withPrefix(entries, prefix), 0) != hash {
				t.Errorf("line %d: it is not the hash of the entries", l.number)
			}
			if err := mpt.VerifyPrefix(root, prefix, hash, l.argument); err != nil {
				t.Errorf("line %d: %v", l.number, err)
			}
		default:
			t.Fatalf("line %d: %q", l.number, l.name)
		}
	}
	if count != 876 {
		t.Errorf("%d proofs", count)
	}
}

func set(t testing.TB, tree *mpt.Tree, key, value []byte) {
	t.Helper()
	if err := tree.Set(key, value); err != nil {
		t.Fatal(err)
	}
}
