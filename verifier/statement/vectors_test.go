package statement

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"testing"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/verifier/proof"
)

var update = flag.Bool("update", false, "write testdata/vectors.json anew")

const vectorsFile = "testdata/vectors.json"

// vectors is the form of testdata/vectors.json.
type vectors struct {
	About   string          `json:"about"`
	Keys    []keyVector     `json:"keys"`
	Valid   []validVector   `json:"valid"`
	Invalid []invalidVector `json:"invalid"`
}

type keyVector struct {
	Seed string              `json:"seed"` // hex, RFC 8032 section 5.1.5
	JWK  events.StatementKey `json:"jwk"`
}

type validVector struct {
	Name      string          `json:"name"`
	Seed      string          `json:"seed"`      // of the key that signs
	Event     json.RawMessage `json:"event"`     // in no particular spelling
	Payload   string          `json:"payload"`   // the event in its one spelling
	Statement string          `json:"statement"` // hex
	LeafHash  string          `json:"leafHash"`  // hex, RFC 6962 section 2.1
}

type invalidVector struct {
	Name      string `json:"name"`
	Error     string `json:"error"`
	Statement string `json:"statement"` // hex
}

const aboutVectors = "Test vectors of the statement format, which the comment of package verifier/statement specifies. " +
	"The valid ones verify with the keys that the first of them announces, the others do not, for the reason given by name and error. " +
	"The refusal of statements over 65535 bytes has no vector here."

func makeVectors(t *testing.T) vectors {
	v := vectors{About: aboutVectors}
	for n := byte(1); n <= 3; n++ {
		v.Keys = append(v.Keys, keyVector{hex.EncodeToString(seed(n)), signer(n).JWK()})
	}
	for _, s := range samples() {
		raw := sign(t, signer(1), s.event)
		parsed, err := Parse(raw)
		if err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		leaf := proof.LeafHash(raw)
		v.Valid = append(v.Valid, validVector{
			Name: s.name, Seed: hex.EncodeToString(seed(1)), Event: parsed.Payload, Payload: string(parsed.Payload),
			Statement: hex.EncodeToString(raw), LeafHash: hex.EncodeToString(leaf[:]),
		})
	}
	for _, r := range refusals() {
		if len(r.raw) < 4096 {
			v.Invalid = append(v.Invalid, invalidVector{r.name, r.want, hex.EncodeToString(r.raw)})
		}
	}
	return v
}

// The vectors in testdata are what this code makes: a change of either that the
// other does not follow is a change of the format.
func TestVectorsAreCurrent(t *testing.T) {
	var want bytes.Buffer
	enc := json.NewEncoder(&want)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(makeVectors(t)); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(vectorsFile, want.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(vectorsFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want.Bytes()) {
		t.Errorf("%s is not what the code makes now. Statements that were signed must verify for ever: "+
			"unless vectors were only added (then run 'go test -update'), the code is wrong", vectorsFile)
	}
}

// The vectors in testdata hold, read as somebody else would read them.
func TestVectors(t *testing.T) {
	text, err := os.ReadFile(vectorsFile)
	if err != nil {
		t.Fatal(err)
	}
	var v vectors
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	if len(v.Keys) == 0 || len(v.Valid) == 0 || len(v.Invalid) == 0 {
		t.Fatal("no vectors")
	}
	for _, k := range v.Keys {
		if got := NewSigner(ed25519.NewKeyFromSeed(unhex(t, k.Seed))).JWK(); got != k.JWK {
			t.Errorf("seed %s: JWK %+v, want %+v", k.Seed, got, k.JWK)
		}
	}
	opening, err := Parse(unhex(t, v.Valid[0].Statement))
	if err != nil {
		t.Fatal(err)
	}
	keys, err := KeySet{}.Announce(opening, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, vector := range v.Valid {
		checkValid(t, vector, keys)
	}
	for _, vector := range v.Invalid {
		want, ok := refusalErrors[vector.Error]
		if _, err := Verify(unhex(t, vector.Statement), keys); !ok || !errors.Is(err, want) {
			t.Errorf("%s: %v, want %s", vector.Name, err, vector.Error)
		}
	}
}

func checkValid(t *testing.T, v validVector, keys KeySet) {
	t.Helper()
	raw := unhex(t, v.Statement)
	s, err := Verify(raw, keys)
	if err != nil {
		t.Errorf("%s: %v", v.Name, err)
		return
	}
	if string(s.Payload) != v.Payload {
		t.Errorf("%s: payload is %s", v.Name, s.Payload)
	}
	if leaf := proof.LeafHash(raw); hex.EncodeToString(leaf[:]) != v.LeafHash {
		t.Errorf("%s: leaf hash is %x", v.Name, leaf)
	}
	again, err := NewSigner(ed25519.NewKeyFromSeed(unhex(t, v.Seed))).Sign(s.Event)
	if err != nil || !bytes.Equal(again, raw) {
		t.Errorf("%s: signing the event again gives other bytes, %v", v.Name, err)
	}
	var a, b any
	if json.Unmarshal(v.Event, &a) != nil || json.Unmarshal(s.Payload, &b) != nil {
		t.Fatalf("%s: event is not JSON", v.Name)
	}
	wantJSON, _ := json.Marshal(a)
	gotJSON, _ := json.Marshal(b)
	if !bytes.Equal(gotJSON, wantJSON) {
		t.Errorf("%s: payload says something else than the event", v.Name)
	}
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
