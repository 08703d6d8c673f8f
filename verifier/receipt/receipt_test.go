package receipt

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/medledger/medledger/verifier/proof"
	"github.com/medledger/medledger/verifier/statement"
)

func TestVerify(t *testing.T) {
	l := life(t)
	for index := range uint64(len(l.leaves)) {
		made := l.receipt(index, announcementsOf(index)...)
		text, err := Marshal(made)
		if err != nil {
			t.Fatal(err)
		}
		r, err := Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		v, err := Verify(r, l.verifier)
		if err != nil {
			t.Errorf("leaf %d: %v", index, err)
			continue
		}
		if v.Index != index || v.Checkpoint.Size != uint64(len(l.leaves)) || v.Event.ID != id(byte(index+1)) {
			t.Errorf("leaf %d: proved is %v at %d of %d", index, v.Event.ID, v.Index, v.Checkpoint.Size)
		}
	}
}

// Rotations and years later, an old event has a receipt at a new checkpoint, and
// its old receipt still holds.
func TestVerifyAcrossRotations(t *testing.T) {
	l := life(t)
	old := l.receipt(1, 0)
	for range 300 {
		l.access(4)
	}
	for _, r := range []*Receipt{old, l.receipt(1, 0)} {
		if _, err := Verify(r, l.verifier); err != nil {
			t.Error(err)
		}
	}
}

func TestForgedReceipts(t *testing.T) {
	l := life(t)
	end := uint64(len(l.leaves))
	impostor := newLedger(t, origin, 2) // the same name and leaves, another log key
	other := newLedger(t, "other.example/ledger", 3)
	for _, x := range []*ledger{impostor, other} {
		x.open(1, 1, 2)
		x.access(1)
	}
	foreign := newLedger(t, origin, 1) // l's key, and the leaves of another ledger
	foreign.leaves, foreign.hashes = other.leaves, other.hashes
	stolen := life(t)
	stolen.access(1) // signed by a key that was rotated away
	unrelated := life(t)
	unrelated.rotate(4, 3, 1) // a rotation that names the last but one
	unrelated.access(1)
	reopened := life(t)
	reopened.open(4, 4)
	unopened := newLedger(t, origin, 1)
	unopened.access(1)
	unopened.open(1, 1)
	unopened.access(1)
	kept := newLedger(t, origin, 1) // rotations that keep key 1
	kept.open(1, 1)
	kept.rotate(1, 0, 1, 2)
	kept.rotate(1, 1, 1)
	kept.access(1)

	change := func(f func(*Receipt)) *Receipt {
		r := l.receipt(7, 0, 3, 6)
		f(r)
		return r
	}
	for _, c := range []struct {
		name string
		r    *Receipt
		want error // nil: some error of package note
	}{
		{"log with another key", impostor.receipt(1, 0), nil},
		{"log of another name", other.receipt(1, 0), nil},
		{"own checkpoint over the leaves of another ledger", foreign.receipt(1, 0), statement.ErrOrigin},
		{"checkpoint signed by nobody", change(func(r *Receipt) { unsign(r) }), nil},
		{"statement of another event", change(func(r *Receipt) { r.Statement = l.leaves[5] }), proof.ErrProof},
		{"statement with a flipped bit", change(func(r *Receipt) { r.Statement = flip(r.Statement) }), proof.ErrProof},
		{"proof of another event", change(func(r *Receipt) { r.Proof = l.receipt(5, 0).Proof }), proof.ErrProof},
		{"proof and announcement's proof swapped", change(func(r *Receipt) { r.Proof, r.Announcements[2].Proof = r.Announcements[2].Proof, r.Proof }), proof.ErrProof},
		{"two announcements' proofs swapped", change(func(r *Receipt) {
			r.Announcements[0].Proof, r.Announcements[1].Proof = r.Announcements[1].Proof, r.Announcements[0].Proof
		}), proof.ErrProof},
		{"announcement with a flipped bit", change(func(r *Receipt) { r.Announcements[1].Statement = flip(r.Announcements[1].Statement) }), proof.ErrProof},
		{"proof is no text", change(func(r *Receipt) { r.Proof = []byte{0} }), proof.ErrMalformed},
		{"announcement's proof is no text", change(func(r *Receipt) { r.Announcements[0].Proof = []byte("index 0\n") }), proof.ErrMalformed},
		{"announcement under an older checkpoint", change(func(r *Receipt) { r.Announcements[1] = l.prove(3, 5, l.checkpoint(5)) }), ErrCheckpoints},
		{"announcement in another log", change(func(r *Receipt) { r.Announcements[0] = impostor.prove(0, 2, impostor.checkpoint(2)) }), ErrCheckpoints},
		{"announcement under a copy with one more line", change(func(r *Receipt) { r.Announcements[0].Proof = cosign(t, r.Announcements[0].Proof) }), ErrCheckpoints},
		{"last rotation missing", l.receipt(7, 0, 3), statement.ErrUnknownKey},
		{"rotation missing in the middle", l.receipt(7, 0, 6), statement.ErrUnknownKey},
		{"rotation missing in the middle, its key kept", kept.receipt(3, 0, 2), ErrChain},
		{"opening missing", l.receipt(7, 3, 6), ErrChain},
		{"announcements in another order", l.receipt(7, 0, 6, 3), ErrChain},
		{"announcement repeated", l.receipt(7, 0, 0, 3, 6), ErrChain},
		{"announcement that announces nothing", l.receipt(7, 0, 1, 3, 6), ErrChain},
		{"rotation that comes after the statement", l.receipt(4, 0, 3, 6), ErrChain},
		{"rotation as its own announcement", l.receipt(6, 0, 3, 6), ErrChain},
		{"key rotated away", stolen.receipt(end, 0, 3, 6), statement.ErrUnknownKey},
		{"rotation that names another announcement", unrelated.receipt(end+1, 0, 3, 6, end), ErrChain},
		{"ledger opened twice", reopened.receipt(end, 0, 3, 6), ErrChain},
		{"ledger opened late", unopened.receipt(2, 1), ErrChain},
		{"ledger not opened at index 0", unopened.receipt(0, 0), ErrChain},
		{"promised", &Receipt{Status: StatusPromised, Statement: l.leaves[7]}, ErrPromised},
		{"promised with a proof", change(func(r *Receipt) { r.Status = StatusPromised }), ErrMalformed},
		{"promised with keys", change(func(r *Receipt) { r.Status, r.Proof = StatusPromised, nil }), ErrMalformed},
		{"proved without a proof", change(func(r *Receipt) { r.Proof = nil }), ErrMalformed},
		{"proved without keys", change(func(r *Receipt) { r.Announcements = nil }), ErrMalformed},
		{"no status", change(func(r *Receipt) { r.Status = "" }), ErrMalformed},
		{"no statement", change(func(r *Receipt) { r.Statement = nil }), ErrMalformed},
		{"empty", &Receipt{}, ErrMalformed},
	} {
		v, err := Verify(c.r, l.verifier)
		var unverified *note.UnverifiedNoteError
		if v != nil || err == nil || c.want != nil && !errors.Is(err, c.want) || c.want == nil && !errors.As(err, &unverified) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

// Whatever byte of a statement or proof of a receipt is changed, it does not verify.
func TestEveryByteCounts(t *testing.T) {
	l := life(t)
	parts := func(r *Receipt) []*[]byte {
		return []*[]byte{&r.Statement, &r.Proof, &r.Announcements[0].Statement, &r.Announcements[0].Proof, &r.Announcements[1].Statement, &r.Announcements[1].Proof}
	}
	r := l.receipt(4, 0, 3)
	for n, part := range parts(r) {
		whole := *part
		for i := range whole {
			mangled := bytes.Clone(whole)
			mangled[i] ^= 1
			*part = mangled
			if _, err := Verify(r, l.verifier); err == nil {
				t.Errorf("part %d, byte %d: still verifies", n, i)
			}
		}
		*part = whole
	}
	if _, err := Verify(r, l.verifier); err != nil {
		t.Error(err)
	}
}

func flip(b []byte) []byte {
	b = bytes.Clone(b)
	b[len(b)/2] ^= 1
	return b
}

// unsign replaces the log's signature by a stranger's of the same name.
func unsign(r *Receipt) {
	resign := func(text []byte) []byte {
		i := bytes.Index(text, []byte("— "))
		return append(bytes.Clone(text[:i]), "— clinic.example/ledger AAAAAAAA\n"...)
	}
	r.Proof = resign(r.Proof)
	for i := range r.Announcements {
		r.Announcements[i].Proof = resign(r.Announcements[i].Proof)
	}
}

// cosign adds a signature that the log knows nothing of: harmless, but not the
// same checkpoint.
func cosign(t *testing.T, text []byte) []byte {
	t.Helper()
	witness := newLedger(t, "witness.example", 4)
	i := bytes.Index(text, []byte("\n\n"))
	i += len("\n\n")
	n, err := note.Open(text[i:], note.VerifierList(newLedger(t, origin, 1).verifier))
	if err != nil {
		t.Fatal(err)
	}
	signed, err := note.Sign(n, witness.signer)
	if err != nil {
		t.Fatal(err)
	}
	return append(bytes.Clone(text[:i]), signed...)
}

func TestParse(t *testing.T) {
	l := life(t)
	text, err := Marshal(l.receipt(4, 0, 3))
	if err != nil {
		t.Fatal(err)
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, text, "", "  "); err != nil {
		t.Fatal(err)
	}
	indented.WriteByte('\n')
	good := string(text)
	replace := func(old, new string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("receipt has no %q", old)
		}
		return strings.Replace(good, old, new, 1)
	}
	promised := `{"statement":"AAAA","status":"promised"}`
	for _, c := range []struct {
		name, in string
		ok       bool
	}{
		{"as written", good, true},
		{"indented", indented.String(), true},
		{"promised", promised, true},
		{"members in another order", `{"status":"promised","statement":"AAAA"}`, true},
		{"nothing", "", false},
		{"cut short", good[:len(good)-1], false},
		{"two receipts", good + good, false},
		{"array", "[" + good + "]", false},
		{"null", "null", false},
		{"unknown member", replace(`"status"`, `"extra":1,"status"`), false},
		{"unknown member of an announcement", replace(`{"proof"`, `{"index":0,"proof"`), false},
		{"repeated member", replace(`"status"`, `"status":"proved","status"`), false},
		{"member in the wrong case", replace(`"status"`, `"Status"`), false},
		{"member a second time in another case", replace(`"status"`, `"STATUS":"promised","status"`), false},
		{"unknown status", replace(`"proved"`, `"verified"`), false},
		{"status in the wrong case", replace(`"proved"`, `"Proved"`), false},
		{"no status", `{"statement":"AAAA"}`, false},
		{"no statement", `{"status":"promised"}`, false},
		{"null statement", `{"statement":null,"status":"promised"}`, false},
		{"promised with null proof", `{"proof":null,"statement":"AAAA","status":"promised"}`, false},
		{"promised with an empty proof", `{"proof":"","statement":"AAAA","status":"promised"}`, false},
		{"promised with no keys listed", `{"keys":[],"statement":"AAAA","status":"promised"}`, false},
		{"promised with a proof", `{"proof":"AAAA","statement":"AAAA","status":"promised"}`, false},
		{"proved without a proof", `{"statement":"AAAA","status":"proved"}`, false},
		{"proved with null for an announcement", `{"keys":[null],"proof":"AAAA","statement":"AAAA","status":"proved"}`, false},
		{"base64 without padding", `{"statement":"AA","status":"promised"}`, false},
		{"base64 with stray bits", `{"statement":"AB==","status":"promised"}`, false},
		{"base64 with a line break", `{"statement":"AA\nAA","status":"promised"}`, false},
		{"base64url", `{"statement":"-_-_","status":"promised"}`, false},
		{"statement as numbers", `{"statement":[1,2],"status":"promised"}`, false},
		{"statement too large", `{"statement":"` + strings.Repeat("AAAA", statement.MaxSize/3+1) + `","status":"promised"}`, false},
		{"too large", strings.Repeat(" ", MaxSize) + promised, false},
		{"too many keys", fmt.Sprintf(`{"keys":[%s],"proof":"AAAA","statement":"AAAA","status":"proved"}`,
			strings.TrimSuffix(strings.Repeat(`{"proof":"AAAA","statement":"AAAA"},`, MaxAnnouncements+1), ",")), false},
	} {
		r, err := Parse([]byte(c.in))
		if (err == nil) != c.ok || err != nil && (!errors.Is(err, ErrMalformed) || r != nil) {
			t.Errorf("%s: %v, want acceptance %v", c.name, err, c.ok)
		}
	}
}

func FuzzParse(f *testing.F) {
	l := life(f)
	for _, r := range []*Receipt{l.receipt(0, 0), l.receipt(4, 0, 3), {Status: StatusPromised, Statement: l.leaves[1]}} {
		text, err := Marshal(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte(`{"status":"promised","statement":"AAAA"}`))
	f.Add([]byte(`{"keys":[{"proof":"AAAA","statement":"AAAA"}],"proof":"AAAA","statement":"AAAA","status":"proved"}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		r, err := Parse(in)
		if err != nil {
			return
		}
		text, err := Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		var a, b any
		if json.Unmarshal(in, &a) != nil || json.Unmarshal(text, &b) != nil {
			t.Fatalf("accepted, but not JSON: %q", in)
		}
		if ja, jb := fmt.Sprint(a), fmt.Sprint(b); ja != jb {
			t.Fatalf("%q is written again as %q", in, text)
		}
		if _, err := Verify(r, l.verifier); err == nil && r.Status != StatusProved {
			t.Fatal("a promise verifies")
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	l := life(b)
	for range 5000 {
		l.access(4)
	}
	r := l.receipt(4000, 0, 3, 6)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Verify(r, l.verifier); err != nil {
			b.Fatal(err)
		}
	}
}
