package receipt

import (
	"bytes"
	"crypto/ed25519"
	"math/rand/v2"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/verifier/proof"
	"github.com/medledger/medledger/verifier/statement"
)

const origin = "clinic.example/ledger"

// A ledger is a log in memory, with its key.
type ledger struct {
	t        testing.TB
	origin   string
	signer   note.Signer
	verifier note.Verifier
	leaves   [][]byte
	hashes   []tlog.Hash
}

func newLedger(t testing.TB, origin string, seed uint64) *ledger {
	t.Helper()
	var random [32]byte
	random[0] = byte(seed)
	skey, vkey, err := note.GenerateKey(rand.NewChaCha8(random), origin)
	if err != nil {
		t.Fatal(err)
	}
	l := &ledger{t: t, origin: origin}
	if l.signer, err = note.NewSigner(skey); err != nil {
		t.Fatal(err)
	}
	if l.verifier, err = note.NewVerifier(vkey); err != nil {
		t.Fatal(err)
	}
	return l
}

func signer(n byte) *statement.Signer {
	return statement.NewSigner(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, ed25519.SeedSize)))
}

func jwks(signers ...byte) []events.StatementKey {
	var keys []events.StatementKey
	for _, n := range signers {
		keys = append(keys, signer(n).JWK())
	}
	return keys
}

func id(n byte) events.ID {
	return events.ID{0, 0, 0, 0, 0, 0, 0x40, 0, 0x80, 0, 0, 0, 0, 0, 0, n}
}

// add signs data with the n-th key, appends it to the log and returns its index.
func (l *ledger) add(n byte, data events.Data) uint64 {
	l.t.Helper()
	at := events.At(time.Date(2026, 11, 23, 20, 0, 0, 0, time.UTC))
	if opened, ok := data.(*events.LedgerOpened); ok {
		opened.Created = at
	}
	raw, err := signer(n).Sign(events.Event{
		ID: id(byte(len(l.leaves) + 1)), Source: l.origin, Type: data.EventType(), Subject: id(0xa0), Time: at, Data: data,
	})
	if err != nil {
		l.t.Fatal(err)
	}
	index := int64(len(l.leaves))
	stored, err := tlog.StoredHashes(index, raw, l.reader())
	if err != nil {
		l.t.Fatal(err)
	}
	l.leaves = append(l.leaves, raw)
	l.hashes = append(l.hashes, stored...)
	return uint64(index)
}

func (l *ledger) open(n byte, keys ...byte) uint64 {
	return l.add(n, &events.LedgerOpened{Origin: l.origin, StatementKeys: jwks(keys...)})
}

func (l *ledger) rotate(n byte, previous uint64, keys ...byte) uint64 {
	return l.add(n, &events.KeyRotated{Previous: previous, StatementKeys: jwks(keys...)})
}

func (l *ledger) access(n byte) uint64 {
	return l.add(n, &events.RecordAccessed{
		Actor: id(0xa1), Decision: events.Decision{Rule: "own-organisation", Rules: "medledger-rules-1"}, Purpose: events.PurposeTreatment, Version: 1,
	})
}

func (l *ledger) reader() tlog.HashReader {
	return tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		var out []tlog.Hash
		for _, i := range indexes {
			out = append(out, l.hashes[i])
		}
		return out, nil
	})
}

// checkpoint signs the log's first size leaves.
func (l *ledger) checkpoint(size uint64) []byte {
	l.t.Helper()
	root, err := tlog.TreeHash(int64(size), l.reader())
	if err != nil {
		l.t.Fatal(err)
	}
	signed, err := proof.SignCheckpoint(proof.Checkpoint{Origin: l.origin, Size: size, Root: root}, l.signer)
	if err != nil {
		l.t.Fatal(err)
	}
	return signed
}

// prove proves the leaf at index under a signed checkpoint of size leaves.
func (l *ledger) prove(index, size uint64, checkpoint []byte) ProvedStatement {
	l.t.Helper()
	hashes, err := tlog.ProveRecord(int64(size), int64(index), l.reader())
	if err != nil {
		l.t.Fatal(err)
	}
	return ProvedStatement{Statement: l.leaves[index], Proof: proof.FormatProof(index, hashes, checkpoint)}
}

// receipt makes the receipt of the leaf at index with the given announcements,
// at the log's end.
func (l *ledger) receipt(index uint64, announcements ...uint64) *Receipt {
	l.t.Helper()
	size := uint64(len(l.leaves))
	checkpoint := l.checkpoint(size)
	own := l.prove(index, size, checkpoint)
	r := &Receipt{Status: StatusProved, Statement: own.Statement, Proof: own.Proof}
	for _, a := range announcements {
		r.Announcements = append(r.Announcements, l.prove(a, size, checkpoint))
	}
	return r
}

// life is a log with two rotations: keys 1 and 2 up to index 3, key 3 up to
// index 6, key 4 and 1 from then on.
func life(t testing.TB) *ledger {
	l := newLedger(t, origin, 1)
	l.open(1, 1, 2)   // 0
	l.access(1)       // 1
	l.access(2)       // 2
	l.rotate(2, 0, 3) // 3
	l.access(3)       // 4
	l.access(3)       // 5
	l.rotate(3, 3, 4) // 6
	l.access(4)       // 7
	return l
}

// announcementsOf are the announcements of life that a leaf needs.
func announcementsOf(index uint64) []uint64 {
	switch {
	case index > 6:
		return []uint64{0, 3, 6}
	case index > 3:
		return []uint64{0, 3}
	}
	return []uint64{0}
}
