package custody

import (
	"bytes"
	"encoding/hex"
	"testing"
)

// FuzzKeyFile holds that only what Create writes is a key.
func FuzzKeyFile(f *testing.F) {
	text := append(bytes.Repeat([]byte("0af9"), 16), '\n')
	f.Add(text)
	f.Add(text[:64])
	f.Add(make([]byte, 65))
	f.Fuzz(func(t *testing.T, b []byte) {
		key, err := parseKeyFile(b)
		if err == nil && !bytes.Equal(append(hex.AppendEncode(nil, key[:]), '\n'), b) {
			t.Errorf("%q became %x", b, key)
		}
	})
}
