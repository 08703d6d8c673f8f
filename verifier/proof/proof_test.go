package proof_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/medledger/medledger/verifier/proof"
)

const origin = "example.org/ledger"

// key returns a key that follows from its name.
func key(t testing.TB, name string) (note.Signer, note.Verifier) {
	t.Helper()
	seed := sha256.Sum256([]byte(name))
	skey, vkey, err := note.GenerateKey(bytes.NewReader(seed[:]), name)
	if err != nil {
		t.Fatal(err)
	}
	s, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	v, err := note.NewVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}
	return s, v
}

// tree is a log in memory, kept by x/mod's tlog.
type tree struct {
	hashes []tlog.Hash
	size   int64
}

func (tr *tree) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	list := make([]tlog.Hash, len(indexes))
	for i, at := range indexes {
		list[i] = tr.hashes[at]
	}
	return list, nil
}

func leaf(i int64) []byte { return fmt.Appendf(nil, "leaf %d", i) }

func newTree(t testing.TB, size int64) *tree {
	t.Helper()
	tr := &tree{}
	for ; tr.size < size; tr.size++ {
		hashes, err := tlog.StoredHashes(tr.size, leaf(tr.size), tr)
		if err != nil {
			t.Fatal(err)
		}
		tr.hashes = append(tr.hashes, hashes...)
	}
	return tr
}

func (tr *tree) checkpoint(t testing.TB, size int64) proof.Checkpoint {
	t.Helper()
	root, err := tlog.TreeHash(size, tr)
	if err != nil {
		t.Fatal(err)
	}
	return proof.Checkpoint{Origin: origin, Size: uint64(size), Root: root}
}

func sign(t testing.TB, c proof.Checkpoint, s note.Signer) []byte {
	t.Helper()
	signed, err := proof.SignCheckpoint(c, s)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

func TestParseCheckpointRefuses(t *testing.T) {
	const root = "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I="
	good := "example.org/log\n20852163\n" + root + "\n"
	if _, err := proof.ParseCheckpoint(good); err != nil {
		t.Fatalf("good: %v", err)
	}
	for name, body := range map[string]string{
		"empty":               "",
		"two lines":           "example.org/log\n20852163\n",
		"no final newline":    strings.TrimSuffix(good, "\n"),
		"extension line":      good + "extension\n",
		"blank line":          good + "\n",
		"carriage returns":    strings.ReplaceAll(good, "\n", "\r\n"),
		"empty origin":        "\n20852163\n" + root + "\n",
		"origin with a space": "example org\n1\n" + root + "\n",
		"origin with a plus":  "example+org\n1\n" + root + "\n",
		"origin not UTF-8":    "example\xff\n1\n" + root + "\n",
		"origin too long":     strings.Repeat("a", 256) + "\n1\n" + root + "\n",
		"leading zero":        "o\n01\n" + root + "\n",
		"sign":                "o\n+1\n" + root + "\n",
		"negative":            "o\n-1\n" + root + "\n",
		"hexadecimal":         "o\n0x1\n" + root + "\n",
		"no size":             "o\n\n" + root + "\n",
		"size of 2^63":        "o\n9223372036854775808\n" + root + "\n",
		"short root":          "o\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jx\n",
		"unpadded root":       "o\n1\n" + strings.TrimSuffix(root, "=") + "\n",
		"stray bits in root":  "o\n1\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2J=\n",
		"URL alphabet":        "o\n1\n" + strings.ReplaceAll(root, "/", "_") + "\n",
		"wrong empty root":    "o\n0\n" + root + "\n",
	} {
		if c, err := proof.ParseCheckpoint(body); !errors.Is(err, proof.ErrMalformed) {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
	}
}

func TestVerifyCheckpoint(t *testing.T) {
	signer, verifier := key(t, origin)
	stranger, _ := key(t, "example.org/stranger")
	c := newTree(t, 5).checkpoint(t, 5)
	signed := sign(t, c, signer)
	if got, err := proof.VerifyCheckpoint(signed, verifier); err != nil || got != c {
		t.Fatalf("%+v, %v", got, err)
	}
	n, err := note.Open(signed, note.VerifierList(verifier))
	if err != nil {
		t.Fatal(err)
	}
	cosigned, err := note.Sign(n, stranger)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := proof.VerifyCheckpoint(cosigned, verifier); err != nil || got != c {
		t.Errorf("with another signature: %+v, %v", got, err)
	}
	for i := range signed { // every flipped byte
		mangled := bytes.Clone(signed)
		mangled[i] ^= 1
		if got, err := proof.VerifyCheckpoint(mangled, verifier); err == nil {
			t.Errorf("byte %d flipped: %+v", i, got)
		}
	}
	for n := range signed { // every truncation
		if got, err := proof.VerifyCheckpoint(signed[:n], verifier); err == nil {
			t.Errorf("cut to %d bytes: %+v", n, got)
		}
	}
	other := c
	other.Origin = "example.org/other"
	foreign, err := note.Sign(&note.Note{Text: fmt.Sprintf("%s\n%d\n%v\n", other.Origin, other.Size, other.Root)}, signer)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := proof.VerifyCheckpoint(foreign, verifier); !errors.Is(err, proof.ErrOrigin) {
		t.Errorf("checkpoint of another log: %v", err)
	}
	if _, err := proof.SignCheckpoint(other, signer); !errors.Is(err, proof.ErrOrigin) {
		t.Errorf("signing for another log: %v", err)
	}
	if _, err := proof.SignCheckpoint(proof.Checkpoint{Origin: origin}, signer); !errors.Is(err, proof.ErrMalformed) {
		t.Errorf("signing an empty tree with a wrong root: %v", err)
	}
}

// TestInclusionAgainstTorchwood holds our writer, parser and verifier against
// torchwood's.
func TestInclusionAgainstTorchwood(t *testing.T) {
	signer, verifier := key(t, origin)
	policy := torchwood.ThresholdPolicy(2, torchwood.OriginPolicy(origin), torchwood.SingleVerifierPolicy(verifier))
	tr := newTree(t, 70)
	rng := rand.New(rand.NewPCG(1, 1))
	for size := int64(1); size <= tr.size; size++ {
		c := tr.checkpoint(t, size)
		signed := sign(t, c, signer)
		i := rng.Int64N(size)
		path, err := tlog.ProveRecord(size, i, tr)
		if err != nil {
			t.Fatal(err)
		}
		text := proof.FormatProof(uint64(i), path, signed)
		if theirs := torchwood.FormatProof(i, path, signed); !bytes.Equal(text, theirs) {
			t.Fatalf("we write\n%s\nand torchwood\n%s", text, theirs)
		}
		hash := proof.LeafHash(leaf(i))
		p, under, err := proof.VerifyInclusion(hash, text, verifier)
		if err != nil || p.Index != uint64(i) || under != c {
			t.Errorf("leaf %d of %d: %d, %+v, %v", i, size, p.Index, under, err)
		}
		if err := torchwood.VerifyProof(policy, hash, text); err != nil {
			t.Errorf("torchwood on leaf %d of %d: %v", i, size, err)
		}
		if _, _, err := proof.VerifyInclusion(proof.LeafHash(leaf(i+1)), text, verifier); !errors.Is(err, proof.ErrProof) {
			t.Errorf("proof of leaf %d of %d for another leaf: %v", i, size, err)
		}
	}
}

func TestParseVerifierKey(t *testing.T) {
	_, vkey, err := note.GenerateKey(strings.NewReader(strings.Repeat("k", 32)), origin)
	if err != nil {
		t.Fatal(err)
	}
	for text, good := range map[string]bool{vkey: true, " " + vkey + "\r\n": true, "": false, vkey[1:]: false, vkey + "\n" + vkey: false} {
		v, err := proof.ParseVerifierKey([]byte(text))
		if (err == nil) != good || good && v.Name() != origin {
			t.Errorf("%q: %v, %v", text, v, err)
		}
	}
}

// TestMangledProof flips every byte of a proof and cuts it everywhere: none of
// them proves anything.
func TestMangledProof(t *testing.T) {
	signer, verifier := key(t, origin)
	tr := newTree(t, 21)
	path, err := tlog.ProveRecord(21, 13, tr)
	if err != nil {
		t.Fatal(err)
	}
	text := proof.FormatProof(13, path, sign(t, tr.checkpoint(t, 21), signer))
	hash := proof.LeafHash(leaf(13))
	if _, _, err := proof.VerifyInclusion(hash, text, verifier); err != nil {
		t.Fatal(err)
	}
	for i := range text {
		mangled := bytes.Clone(text)
		mangled[i] ^= 1
		if p, _, err := proof.VerifyInclusion(hash, mangled, verifier); err == nil {
			t.Errorf("byte %d flipped: proves %d", i, p.Index)
		}
		if p, _, err := proof.VerifyInclusion(hash, text[:i], verifier); err == nil {
			t.Errorf("cut to %d bytes: proves %d", i, p.Index)
		}
	}
	extra := bytes.Replace(text, []byte("index"), []byte("extra AAAA\nindex"), 1)
	if _, err := proof.ParseProof(extra); !errors.Is(err, proof.ErrMalformed) {
		t.Errorf("extra data: %v", err)
	}
	long := proof.FormatProof(0, make([]tlog.Hash, 64), []byte("x"))
	if _, err := proof.ParseProof(long); !errors.Is(err, proof.ErrMalformed) {
		t.Errorf("64 hashes: %v", err)
	}
}

func TestConsistency(t *testing.T) {
	tr := newTree(t, 40)
	for newer := int64(0); newer <= tr.size; newer++ {
		for older := int64(0); older <= newer; older++ {
			var path []tlog.Hash
			if older > 0 && older < newer {
				p, err := tlog.ProveTree(newer, older, tr)
				if err != nil {
					t.Fatal(err)
				}
				path = p
			}
			a, b := tr.checkpoint(t, older), tr.checkpoint(t, newer)
			if err := proof.VerifyConsistency(a, b, path); err != nil {
				t.Fatalf("%d and %d: %v", older, newer, err)
			}
			if err := proof.VerifyConsistency(a, b, append(path, tlog.Hash{})); !errors.Is(err, proof.ErrProof) {
				t.Errorf("%d and %d with a superfluous hash: %v", older, newer, err)
			}
			if older > 0 {
				forked := a
				forked.Root[7] ^= 1
				var fork *proof.ForkError
				switch err := proof.VerifyConsistency(forked, b, path); {
				case older == newer && (!errors.As(err, &fork) || fork.A != forked || fork.B != b):
					t.Errorf("two roots at %d: %v", older, err)
				case older < newer && !errors.Is(err, proof.ErrProof):
					t.Errorf("fork before %d: %v", newer, err)
				}
			}
			if older < newer {
				if err := proof.VerifyConsistency(b, a, path); !errors.Is(err, proof.ErrProof) {
					t.Errorf("shrinking from %d to %d: %v", newer, older, err)
				}
			}
		}
	}
	other := tr.checkpoint(t, 40)
	other.Origin = "example.org/other"
	if err := proof.VerifyConsistency(tr.checkpoint(t, 40), other, nil); !errors.Is(err, proof.ErrOrigin) {
		t.Errorf("another log: %v", err)
	}
	huge := proof.Checkpoint{Origin: origin, Size: math.MaxUint64}
	if err := proof.VerifyConsistency(huge, huge, nil); !errors.Is(err, proof.ErrMalformed) {
		t.Errorf("size of 2^64-1: %v", err)
	}
	if err := huge.CheckLeaf(math.MaxUint64-1, tlog.Hash{}, nil); !errors.Is(err, proof.ErrProof) {
		t.Errorf("leaf of a log of 2^64-1: %v", err)
	}
}
