package ledger_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/medledger/medledger/ledger"
)

// TestEd25519Key takes both halves of signed-note keys apart, of which many have a plus
// in their base64, and nothing else.
func TestEd25519Key(t *testing.T) {
	for range 50 {
		secret, public, err := note.GenerateKey(rand.Reader, origin)
		if err != nil {
			t.Fatal(err)
		}
		secret = strings.TrimPrefix(secret, "PRIVATE+KEY+")
		name1, seed, err1 := ledger.Ed25519Key([]byte(secret + "\n"))
		name2, key, err2 := ledger.Ed25519Key([]byte(public + "\n"))
		if err1 != nil || err2 != nil || name1 != origin || name2 != origin {
			t.Fatalf("%q, %v; %q, %v", name1, err1, name2, err2)
		}
		if !bytes.Equal(ed25519.NewKeyFromSeed(seed)[ed25519.SeedSize:], key) {
			t.Fatal("the halves are of two keys")
		}
		for _, bad := range []string{"", "+", "++", public[:len(public)-4], public + "AAAA", origin, strings.ReplaceAll(public, "+A", "+B"), "PRIVATE+KEY+" + secret} {
			if _, _, err := ledger.Ed25519Key([]byte(bad)); err == nil {
				t.Errorf("a key is %q", bad)
			}
		}
	}
}
