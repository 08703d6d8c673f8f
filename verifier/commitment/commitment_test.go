package commitment_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"testing"
	"testing/iotest"

	"github.com/medledger/medledger/verifier/commitment"
)

// vector is one entry of testdata/vectors.json.
type vector struct {
	Salt       string `json:"salt"`
	Pattern    string `json:"pattern"` // hex, repeated and cut to size
	Size       int    `json:"size"`
	Commitment string `json:"commitment"`
}

func vectors(t testing.TB) []vector {
	t.Helper()
	b, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var vs []vector
	if err := json.Unmarshal(b, &vs); err != nil {
		t.Fatal(err)
	}
	if len(vs) == 0 {
		t.Fatal("no test vectors")
	}
	return vs
}

func (v vector) decode(t testing.TB) (salt, sum [32]byte, content []byte) {
	t.Helper()
	for _, f := range []struct {
		to  []byte
		hex string
	}{{salt[:], v.Salt}, {sum[:], v.Commitment}} {
		if n, err := hex.Decode(f.to, []byte(f.hex)); err != nil || n != 32 {
			t.Fatalf("vector field %q: %d bytes, %v", f.hex, n, err)
		}
	}
	pattern, err := hex.DecodeString(v.Pattern)
	if err != nil {
		t.Fatal(err)
	}
	if v.Size > 0 {
		content = bytes.Repeat(pattern, v.Size/len(pattern)+1)[:v.Size]
	}
	return salt, sum, content
}

func TestVectors(t *testing.T) {
	for _, v := range vectors(t) {
		salt, sum, content := v.decode(t)
		c := commitment.New(salt)
		for _, b := range content { // one byte at a time
			c.Write([]byte{b})
		}
		if got := c.Sum(); got != sum {
			t.Errorf("size %d: %x, want %x", v.Size, got, sum)
		}
		n, err := commitment.Verify(sum, salt, iotest.HalfReader(bytes.NewReader(content)))
		if err != nil || n != int64(v.Size) {
			t.Errorf("size %d: Verify = %d, %v", v.Size, n, err)
		}
	}
}

func TestEveryAlteredByteIsRefused(t *testing.T) {
	salt, sum, content := vectors(t)[2].decode(t)
	refused := func(what string, sum, salt [32]byte, content []byte) {
		t.Helper()
		if n, err := commitment.Verify(sum, salt, bytes.NewReader(content)); !errors.Is(err, commitment.ErrMismatch) || n != 0 {
			t.Errorf("%s: Verify = %d, %v", what, n, err)
		}
	}
	for i := range salt {
		s, c := salt, sum
		s[i] ^= 1
		c[i] ^= 0x80
		refused("salt", sum, s, content)
		refused("commitment", c, salt, content)
	}
	for i := range content {
		c := bytes.Clone(content)
		c[i] ^= 0x10
		refused("content", sum, salt, c)
	}
	refused("truncated", sum, salt, content[:len(content)-1])
	refused("extended", sum, salt, append(bytes.Clone(content), 0))
}

func TestReadErrorIsNotAMismatch(t *testing.T) {
	broken := errors.New("broken")
	_, err := commitment.Verify([32]byte{}, [32]byte{}, iotest.ErrReader(broken))
	if !errors.Is(err, broken) || errors.Is(err, commitment.ErrMismatch) {
		t.Fatal(err)
	}
}
