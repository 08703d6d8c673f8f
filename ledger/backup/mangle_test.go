package backup

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"

	"github.com/medledger/medledger/events/store/disk"
)

// TestMangledFiles alters, cuts, swaps and removes the files of increments: the chain is
// refused, and the message names a file.
func TestMangledFiles(t *testing.T) {
	h := newHouse(t)
	for range 3 {
		h.source.add(40)
		h.run()
	}
	good := make(map[string][]byte)
	for n := uint64(1); n <= 3; n++ {
		raw, err := disk.ReadFile(h.fsys, filepath.Join(dataDir, incrementName(n)))
		h.must(err)
		good[incrementName(n)] = raw
	}
	put := func(name string, raw []byte) {
		t.Helper()
		h.must(disk.WriteFile(h.fsys, filepath.Join(dataDir, name), raw, 0o600))
	}
	refused := func(what string) {
		t.Helper()
		r, err := h.read()
		if err == nil || !strings.Contains(err.Error(), "00000000") {
			t.Errorf("%s: %+v, %v", what, r, err)
		}
	}
	for name, raw := range good {
		step := max(1, len(raw)/97)
		for at := 0; at < len(raw); at += step {
			mangled := bytes.Clone(raw)
			mangled[at] ^= 0x20
			put(name, mangled)
			refused(name + " altered")
			put(name, raw[:at])
			refused(name + " cut")
		}
		put(name, append(bytes.Clone(raw), 0))
		refused(name + " with a byte more")
		for other, instead := range good {
			if other != name {
				put(name, instead)
				refused(name + " swapped for " + other)
			}
		}
		put(name, raw)
		h.check()
	}
	for _, name := range []string{incrementName(1), incrementName(2)} {
		h.must(h.fsys.Remove(filepath.Join(dataDir, name)))
		refused(name + " missing")
		put(name, good[name])
	}
	// Without the newest the chain is whole, and shorter: that it is not the newest one is
	// for the checkpoints to show.
	h.must(h.fsys.Remove(filepath.Join(dataDir, incrementName(3))))
	if r, err := h.read(); err != nil || len(r.leaves) != 80 {
		t.Errorf("a shorter chain: %v", err)
	}
}

// TestForgedIncrement has somebody who knows the recipient, but not the secret, write an
// increment of his own.
func TestForgedIncrement(t *testing.T) {
	h := newHouse(t)
	h.source.add(3)
	h.run()
	recipients, err := h.plan.recipients()
	h.must(err)
	forger := h.config
	forger.Secret = bytes.Repeat([]byte{9}, 32)
	forged := dataSide{h.fsys, "forged"}
	h.source.contents[1] = "forged content;"
	_, err = forged.add(t.Context(), &forger, h.source, recipients, false)
	h.must(err)
	raw, err := disk.ReadFile(h.fsys, forged.path(incrementName(1)))
	h.must(err)
	h.must(disk.WriteFile(h.fsys, filepath.Join(dataDir, incrementName(1)), raw, 0o600))
	if _, err := h.read(); err == nil || !strings.Contains(err.Error(), "authentication code") {
		t.Errorf("a forged increment: %v", err)
	}
}

// plainIncrement is what age encrypts.
func plainIncrement(t testing.TB) []byte {
	h := newHouse(t)
	h.source.state = []string{"s"}
	h.source.add(3)
	h.run()
	raw, err := disk.ReadFile(h.fsys, filepath.Join(dataDir, incrementName(1)))
	h.must(err)
	plain, err := age.Decrypt(bytes.NewReader(raw), h.identity...)
	h.must(err)
	b, err := io.ReadAll(plain)
	h.must(err)
	return b
}

var secretOfTests = bytes.Repeat([]byte{7}, 32)

func readPlain(t testing.TB, b []byte, secret []byte) error {
	r, err := readFrames(bytes.NewReader(b), secret)
	if err != nil {
		return err
	}
	return r.visit(t.Context(), Contents{Vault: func(r io.Reader) error { _, err := io.Copy(io.Discard, r); return err }})
}

// TestMangledPlaintext alters every byte below the encryption.
func TestMangledPlaintext(t *testing.T) {
	good := plainIncrement(t)
	if err := readPlain(t, good, secretOfTests); err != nil {
		t.Fatal(err)
	}
	for at := range good {
		mangled := bytes.Clone(good)
		mangled[at] ^= 1
		if readPlain(t, mangled, secretOfTests) == nil {
			t.Fatalf("byte %d can be altered", at)
		}
		if readPlain(t, good[:at], secretOfTests) == nil {
			t.Fatalf("it can be cut at %d", at)
		}
	}
	if readPlain(t, append(bytes.Clone(good), 0), secretOfTests) == nil {
		t.Error("a byte can be added")
	}
	// Frames left out, repeated or reordered, with an authentication code or without.
	frames := split(good)
	for i := range frames {
		for name, list := range map[string][][]byte{
			"left out": append(append([][]byte{}, frames[:i]...), frames[i+1:]...),
			"repeated": append(append(append([][]byte{}, frames[:i]...), frames[i]), frames[i:]...),
		} {
			b := append([]byte(incrementMagic), bytes.Join(list, nil)...)
			for _, secret := range [][]byte{nil, secretOfTests} {
				if readPlain(t, b, secret) == nil {
					t.Errorf("frame %d can be %s", i, name)
				}
			}
		}
	}
}

// split cuts an increment into its frames.
func split(b []byte) (frames [][]byte) {
	for b = b[len(incrementMagic):]; len(b) > 0; {
		n := framePrefix + int(binary.BigEndian.Uint32(b))
		frames, b = append(frames, b[:n]), b[n:]
	}
	return frames
}

// FuzzIncrement: whatever is accepted is, frame by frame, what a writer would write.
func FuzzIncrement(f *testing.F) {
	good := plainIncrement(f)
	f.Add(good)
	f.Add(good[:len(good)-1])
	f.Add([]byte(incrementMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := readFrames(bytes.NewReader(b), nil)
		if err != nil {
			return
		}
		var again bytes.Buffer
		w, err := newFrameWriter(&again, secretOfTests, &r.Header)
		if err != nil {
			t.Fatal(err)
		}
		for {
			k, payload, err := r.next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return
			}
			if err := w.frame(k, payload); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.end(); err != nil {
			t.Fatal(err)
		}
		const mac = 32
		if n := len(b) - mac; !bytes.Equal(again.Bytes()[:n], b[:n]) {
			t.Errorf("%q was written again as %q", b, again.Bytes())
		}
	})
}

func FuzzSecrets(f *testing.F) {
	f.Add([]byte(`{"format":1,"origin":"a","files":[{"name":"log.key","content":"YQ=="}]}`))
	f.Add([]byte(`{"format":1,"origin":"a","files":[{"name":"../x","content":null}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := parseSecrets(b)
		if err != nil {
			return
		}
		for _, file := range s.Files {
			if filepath.Base(file.Name) != file.Name || file.Name == ".." || file.Name == "." || file.Name == "" {
				t.Errorf("a file named %q", file.Name)
			}
		}
	})
}

func TestImpossibleSecrets(t *testing.T) {
	for _, name := range []string{"../x", "a/b", "", ".", "..", "/x", EpochsFile} {
		raw := []byte(`{"format":1,"origin":"a","files":[{"name":"` + name + `","content":"YQ=="}]}`)
		if _, err := parseSecrets(raw); err == nil {
			t.Errorf("a secret named %q", name)
		}
	}
	for _, text := range []string{
		`{"format":2,"origin":"a","files":[]}`, `{"format":1,"origin":"a","files":[],"x":1}`, `{"format":1, "origin":"a","files":[]}`,
		`{"format":1,"origin":"a","files":[{"name":"b","content":""},{"name":"a","content":""}]}`, `{}`, ``, `[]`,
	} {
		if _, err := parseSecrets([]byte(text)); err == nil {
			t.Errorf("secrets %s", text)
		}
	}
}

// TestAuthenticated alters every byte of a small file.
func TestAuthenticated(t *testing.T) {
	good, err := authenticated(secretOfTests, "position", position{Format: 1, Vault: []byte("null")})
	if err != nil {
		t.Fatal(err)
	}
	var p position
	if err := parseAuthenticated(secretOfTests, "position", good, &p); err != nil {
		t.Fatal(err)
	}
	if err := parseAuthenticated(secretOfTests, "epochs", good, &p); !errors.Is(err, ErrAltered) {
		t.Errorf("one kind of file for another: %v", err)
	}
	for at := range good {
		mangled := bytes.Clone(good)
		mangled[at] ^= 1
		if err := parseAuthenticated(secretOfTests, "position", mangled, &p); !errors.Is(err, ErrAltered) {
			t.Errorf("byte %d can be altered: %v", at, err)
		}
		if err := parseAuthenticated(secretOfTests, "position", good[:at], &p); !errors.Is(err, ErrAltered) {
			t.Errorf("it can be cut at %d: %v", at, err)
		}
	}
}

// FuzzAuthenticated: of the small files only what was written is taken, and it is the one
// form of what it says.
func FuzzAuthenticated(f *testing.F) {
	for label, value := range map[string]any{"position": position{Vault: []byte("{}")}, "epoch": manifest{}, "epochs": epochs{}, "medium": medium{}} {
		good, err := authenticated(secretOfTests, label, value)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(label, good)
	}
	f.Fuzz(func(t *testing.T, label string, b []byte) {
		// An attacker has no secret; what the parser makes of authentic bytes is looked at
		// by giving it the right code.
		line, _, _ := bytes.Cut(b, []byte("\n"))
		signed := append(bytes.Clone(line), '\n')
		authentic := append(hex.AppendEncode(bytes.Clone(signed), sum(secretOfTests, label, signed)), '\n')
		for _, to := range []any{new(position), new(manifest), new(epochs), new(medium)} {
			if err := parseAuthenticated(secretOfTests, label, authentic, to); err != nil {
				continue
			}
			again, err := authenticated(secretOfTests, label, to)
			if err != nil || !bytes.Equal(again, authentic) {
				t.Errorf("%q became %q, %v", authentic, again, err)
			}
		}
	})
}
