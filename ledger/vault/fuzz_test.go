package vault

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"testing"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/ledger/custody"
)

func FuzzSegmentRecord(f *testing.F) {
	for _, size := range []int{tagSize, 100} {
		b := append(newSegmentRecord(events.MustNewID(), 7, size), pattern(size)...)
		finishSegmentRecord(b)
		f.Add(b)
		f.Add(b[:len(b)-1])
		f.Add(append(b, 1))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		rec, n, err := parseSegmentRecord(b)
		if err != nil {
			return
		}
		again := append(newSegmentRecord(rec.record, rec.version, len(rec.payload)), rec.payload...)
		finishSegmentRecord(again)
		if !bytes.Equal(again, b[:n]) {
			t.Errorf("%x became %x", b[:n], again)
		}
	})
}

func FuzzSegmentHeader(f *testing.F) {
	f.Add(segmentHeader(1))
	f.Add(segmentHeader(1<<32 - 1))
	f.Add([]byte(segmentMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		if n, err := parseSegmentHeader(b); err == nil && !bytes.Equal(segmentHeader(n), b) {
			t.Errorf("%x became %x", b, segmentHeader(n))
		}
	})
}

func FuzzLargeHeader(f *testing.F) {
	f.Add(versionContext{events.MustNewID(), 1}.marshal())
	f.Add(make([]byte, contextSize))
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := parseContext(b); err == nil && !bytes.Equal(c.marshal(), b) {
			t.Errorf("%x became %x", b, c.marshal())
		}
	})
}

func FuzzNames(f *testing.F) {
	f.Add(largeName(events.MustNewID(), 12))
	f.Add(segmentName(3))
	f.Add("../../etc/passwd")
	f.Fuzz(func(t *testing.T, name string) {
		if id, version, ok := parseLargeName(name); ok && largeName(id, version) != name {
			t.Errorf("%q became %q", name, largeName(id, version))
		}
		if n, ok := parseSegmentName(name); ok && segmentName(n) != name {
			t.Errorf("%q became %q", name, segmentName(n))
		}
	})
}

func FuzzSecrets(f *testing.F) {
	f.Add((&secrets{size: 5, contentType: "a/b"}).marshal(nil))
	f.Add(make([]byte, secretsFixed))
	f.Add(make([]byte, secretsFixed+1))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := parseSecrets(b); err == nil && !bytes.Equal(s.marshal(nil), b) {
			t.Errorf("%x became %x", b, s.marshal(nil))
		}
	})
}

func FuzzRootKeyFile(f *testing.F) {
	text := bytes.Repeat([]byte("0aF9"), 16)
	f.Add(text)
	f.Add(append(text, '\n'))
	f.Add(append(text, '\r', '\n'))
	f.Fuzz(func(t *testing.T, b []byte) {
		k, err := parseRootKey(b)
		if err != nil {
			return
		}
		want := bytes.ToLower(bytes.TrimSuffix(b, []byte("\n")))
		if got := hex.EncodeToString(k.bytes[:]); got != string(want) {
			t.Errorf("%q became %q", b, got)
		}
	})
}

// FuzzWrappedSecrets, FuzzNamedKey, FuzzDocument and FuzzChunks hold that nothing
// but what was sealed opens.
func FuzzWrappedSecrets(f *testing.F) {
	key, id := [keySize]byte{7}, events.ID{1}
	wrapped, err := wrapSecrets(&key, &secrets{size: 3, contentType: "x"}, id, 1, bytes.NewReader(make([]byte, nonceSize)))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(wrapped)
	f.Add(wrapped[:minWrapped-1])
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := unwrapSecrets(&key, b, id, 1)
		if (err == nil) != bytes.Equal(b, wrapped) {
			t.Errorf("%x: %v, %v", b, s, err)
		}
	})
}

func FuzzNamedKey(f *testing.F) {
	root, err := parseRootKey(bytes.Repeat([]byte("01"), keySize))
	if err != nil {
		f.Fatal(err)
	}
	name, key := keyName{patientKey, events.ID{1}}, [keySize]byte{3}
	wrapped, err := seal(root.aead, bytes.NewReader(make([]byte, nonceSize)), key[:], namedContext(7, name))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(wrapped)
	f.Add(wrapped[:sealOverhead])
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := unwrapNamed(root.aead, 7, name, b)
		if (err == nil) != bytes.Equal(b, wrapped) || err == nil && got != key {
			t.Errorf("%x: %v, %v", b, got, err)
		}
	})
}

// FuzzProof and FuzzNode do the same for what belongs to the tree.
func FuzzProof(f *testing.F) {
	name, key := keyName{patientKey, events.ID{1}}, [keySize]byte{3}
	proof, err := prove(&key, name, 7, bytes.NewReader(make([]byte, nonceSize)))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(proof)
	f.Add(proof[:proofSize-1])
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := proven(&key, name, 7, b); (err == nil) != bytes.Equal(b, proof) {
			t.Errorf("%x: %v", b, err)
		}
	})
}

func FuzzNode(f *testing.F) {
	id, key, children := vaultID{1}, [keySize]byte{3}, make([]byte, 4*keySize)
	blob, err := sealNode(id, nodeID{1, 2}, &key, children, bytes.NewReader(make([]byte, nonceSize)))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(blob)
	f.Add(blob[:len(blob)-1])
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := unsealNode(id, nodeID{1, 2}, &key, b, 4); (err == nil) != bytes.Equal(b, blob) {
			t.Errorf("%x: %v", b, err)
		}
	})
}

func FuzzTreeState(f *testing.F) {
	f.Add((&treeState{fanOut: 64, kind: custody.File}).marshal())
	f.Add((&treeState{generation: 9, fanOut: 64, height: 3, kind: custody.Token, top: make([]byte, 61)}).marshal())
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := parseTreeState(b); err == nil && !bytes.Equal(s.marshal(), b) {
			t.Errorf("%x became %x", b, s.marshal())
		}
	})
}

func FuzzRootName(f *testing.F) {
	f.Add(vaultID{1, 2}.rootName(12))
	f.Add("root-")
	f.Add("epoch-1")
	f.Fuzz(func(t *testing.T, name string) {
		if id, g, ok := parseRootName(name); ok && (id.rootName(g) != name || custody.CheckName(name) != nil) {
			t.Errorf("%q became %q", name, id.rootName(g))
		}
	})
}

// FuzzRegister holds that what is read of a register and written again is the same,
// up to where it is torn.
func FuzzRegister(f *testing.F) {
	two := registered{vaultID{7}, 3, 0, []slot{7}}.append(registered{vaultID{7}, 2, 9, []slot{3, 9}}.append([]byte(registerMagic)))
	f.Add([]byte(registerMagic))
	f.Add(two)
	f.Add(two[:len(two)-1])
	f.Add(append(bytes.Clone(two), make([]byte, 100)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		again := []byte(registerMagic)
		end, err := parseRegister(b, func(e registered) { again = e.append(again) })
		if err != nil {
			if !errors.Is(err, ErrRegister) {
				t.Error(err)
			}
			return
		}
		if !bytes.Equal(again, b[:end]) {
			t.Errorf("%x became %x", b[:end], again)
		}
	})
}

func FuzzDocument(f *testing.F) {
	key, p := [keySize]byte{5}, Place{Identity, events.ID{1}, events.ID{2}}
	sealed, err := sealDocument(&key, p, make([]byte, 40), bytes.NewReader(make([]byte, nonceSize)))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sealed)
	f.Add(sealed[:sealOverhead+31])
	f.Fuzz(func(t *testing.T, b []byte) {
		plain, err := unsealDocument(&key, p, b)
		if (err == nil) != bytes.Equal(b, sealed) {
			t.Errorf("%x: %x, %v", b, plain, err)
		}
	})
}

func FuzzChunks(f *testing.F) {
	key, c := [keySize]byte{9}, versionContext{events.ID{1}, 1}
	plain := pattern(chunkSize + 50)
	s, err := newStream(&key, c)
	if err != nil {
		f.Fatal(err)
	}
	sealed := s.sealAll(nil, plain)
	f.Add([]byte{}, 0)
	f.Add([]byte{1}, sealedChunk)
	f.Add([]byte{1, 2}, len(sealed)-1)
	f.Fuzz(func(t *testing.T, patch []byte, at int) {
		b := bytes.Clone(sealed)
		for i, x := range patch { // flip bits from at on
			b[uint(at+i)%uint(len(b))] ^= x
		}
		stream, err := newStream(&key, c)
		if err != nil {
			t.Fatal(err)
		}
		r := &reader{registry: newRegistry(), source: bytes.NewReader(b), stream: stream, left: int64(len(plain))}
		got, err := io.ReadAll(r)
		if (err == nil) != bytes.Equal(b, sealed) || !bytes.HasPrefix(plain, got) || err != nil && len(got)%chunkSize != 0 {
			t.Errorf("%d bytes released, %v", len(got), err)
		}
	})
}

func FuzzBackupEntry(f *testing.F) {
	id := events.MustNewID()
	for _, e := range []entry{
		{kind: entryVault, vaults: []vaultID{{1}, {2}}},
		{kind: entryVersion, serial: 1, record: id, version: 2, slot: 3, at: location{4, 5, 6}, bytes: make([]byte, minWrapped)},
		{kind: entryDocument, serial: 1, place: identity(id), slot: 2, bytes: make([]byte, sealOverhead+40)},
		{kind: entryTerm, serial: 9, bytes: make([]byte, 32)},
		{kind: entryOwner, name: keyName{patientKey, id}, slot: 8, bytes: make([]byte, proofSize)},
		{kind: entryTree, vaults: []vaultID{{1}}, number: 7, slot: 8, tree: treeShape{64, 3, "epoch-1"}, bytes: make([]byte, 61)},
		{kind: entryTree, vaults: []vaultID{{1}, {2}}, number: 7, slot: 8, tree: treeShape{2, 1, "x"}, bytes: make([]byte, 1)},
		{kind: entryNode, node: nodeID{1, 2}, bytes: make([]byte, 4*keySize+sealOverhead)},
		{kind: entryTombstone, name: recordName(id), number: 3},
		{kind: entryEnd, number: 4},
	} {
		f.Add(e.append(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if e, err := parseEntry(b); err == nil && !bytes.Equal(e.append(nil), b) {
			t.Errorf("%x became %x", b, e.append(nil))
		}
	})
}

// FuzzBackup reads whole files: what is read and written again is the same.
func FuzzBackup(f *testing.F) {
	var b bytes.Buffer
	w, err := newEntryWriter(&b, rowsFormat)
	if err != nil {
		f.Fatal(err)
	}
	for _, e := range []entry{{kind: entryVault, vaults: []vaultID{{1}}}, {kind: entryTerm, serial: 9, bytes: make([]byte, 32)}} {
		if err := w.write(e); err != nil {
			f.Fatal(err)
		}
	}
	if err := w.end(); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add(b.Bytes()[:b.Len()-1])
	f.Add([]byte(rowsFormat.magic))
	f.Fuzz(func(t *testing.T, b []byte) {
		var again bytes.Buffer
		w, err := newEntryWriter(&again, rowsFormat)
		if err != nil {
			t.Fatal(err)
		}
		if err := readEntries(bytes.NewReader(b), rowsFormat, w.write); err != nil {
			if !errors.Is(err, ErrBackup) {
				t.Error(err)
			}
			return
		}
		if err := w.end(); err != nil || !bytes.Equal(again.Bytes(), b) {
			t.Errorf("%x became %x, %v", b, again.Bytes(), err)
		}
	})
}

// FuzzBackupKeys is FuzzBackup for the side of the keys.
func FuzzBackupKeys(f *testing.F) {
	var b bytes.Buffer
	w, err := newEntryWriter(&b, keysFormat)
	if err != nil {
		f.Fatal(err)
	}
	for _, e := range []entry{
		{kind: entryTree, vaults: []vaultID{{1}}, number: 7, slot: 8, tree: treeShape{4, 1, "epoch-1"}, bytes: make([]byte, 61)},
		{kind: entryNode, bytes: make([]byte, 4*keySize+sealOverhead)},
	} {
		if err := w.write(e); err != nil {
			f.Fatal(err)
		}
	}
	if err := w.end(); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add(b.Bytes()[:b.Len()-1])
	f.Add([]byte(keysFormat.magic))
	f.Fuzz(func(t *testing.T, b []byte) {
		var again bytes.Buffer
		w, err := newEntryWriter(&again, keysFormat)
		if err != nil {
			t.Fatal(err)
		}
		if err := readEntries(bytes.NewReader(b), keysFormat, w.write); err != nil {
			if !errors.Is(err, ErrBackup) {
				t.Error(err)
			}
			return
		}
		if err := w.end(); err != nil || !bytes.Equal(again.Bytes(), b) {
			t.Errorf("%x became %x, %v", b, again.Bytes(), err)
		}
	})
}
