package demo

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/mod/sumdb/note"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/ledger"
	"github.com/medledger/medledger/verifier/proof"
	"github.com/medledger/medledger/verifier/statement"
)

func reading(e events.Event) bool { return e.Type == events.TypeRecordAccessed }

// flip flips the lowest bit of a digit in the time of the first reading.
func (f *forgery) flip() error {
	i, err := f.first(reading)
	if err != nil {
		return err
	}
	const member = `"time":"`
	raw := bytes.Clone(f.leaves[i].Statement)
	raw[bytes.Index(raw, []byte(member))+len(member)+len("2026-11-23T20:00:00.00000")] ^= 1
	f.leaves[i].Statement = raw
	return f.write()
}

// cut removes the last three events.
func (f *forgery) cut() error {
	f.leaves = f.leaves[:len(f.leaves)-3]
	return f.write()
}

// rollBack removes all that came after a checkpoint that was put aside.
func (s *story) rollBack(f *forgery) error {
	f.leaves = f.leaves[:s.early.size]
	f.checkpoint = s.early.note
	return f.write()
}

// swap swaps two neighbours: readings of the same record.
func (f *forgery) swap() error {
	i, err := f.first(reading)
	if err != nil {
		return err
	}
	if i+1 == len(f.events) || !reading(f.events[i+1]) || f.events[i].Subject != f.events[i+1].Subject {
		return errNothingToAttack
	}
	f.leaves[i], f.leaves[i+1] = f.leaves[i+1], f.leaves[i]
	return f.write()
}

// misplace makes a reading of the first record one of another record.
func (s *story) misplace(f *forgery) error {
	to := s.visit.id
	i, err := f.first(reading)
	if err != nil {
		return err
	}
	const member = `"subject":"`
	leaf := &f.leaves[i]
	leaf.Statement = bytes.Replace(leaf.Statement, []byte(member+f.events[i].Subject.String()), []byte(member+to.String()), 1)
	leaf.Stream = "record-" + to.String()
	return f.write()
}

// forge blames the nurse for the doctor's first reading, signed with a key of
// his own.
func (s *story) forge(f *forgery) error {
	i, err := f.first(reading)
	if err != nil {
		return err
	}
	signer, err := newSigner()
	if err != nil {
		return err
	}
	return s.blame(f, i, signer)
}

// forgeStolen blames the nurse for the doctor's last reading, signed with the key
// that the ledger itself used for it.
func (s *story) forgeStolen(f *forgery) error {
	i, err := f.last(func(e events.Event) bool {
		d, ok := e.Data.(*events.RecordAccessed)
		return ok && d.Actor == s.cast.doctor.id
	})
	if err != nil {
		return err
	}
	signer, err := stolenSigner(s.at.Custody)
	if err != nil {
		return err
	}
	return s.blame(f, i, signer)
}

// blame makes the nurse the one who did a reading.
func (s *story) blame(f *forgery, i int, signer *statement.Signer) (err error) {
	e := f.events[i]
	blamed := *e.Data.(*events.RecordAccessed)
	blamed.Actor = s.cast.nurse.id
	e.Data = &blamed
	if f.leaves[i].Statement, err = signer.Sign(e); err != nil {
		return fmt.Errorf("forging an event: %w", err)
	}
	return f.write()
}

// rewrite makes a history in which the nurse did all that the doctor read, which
// the rules allow as well: signed from the first event to the checkpoint with
// keys of his own. Only the log's public key tells it from the true one.
func (s *story) rewrite(f *forgery) error {
	own, err := newSigner()
	if err != nil {
		return err
	}
	for i, e := range f.events {
		switch d := e.Data.(type) {
		case *events.LedgerOpened:
			d.StatementKeys = []events.StatementKey{own.JWK()}
		case *events.KeyRotated:
			d.StatementKeys = []events.StatementKey{own.JWK()}
		case *events.RecordAccessed:
			if d.Actor == s.cast.doctor.id {
				d.Actor = s.cast.nurse.id
			}
		}
		if f.leaves[i].Statement, err = own.Sign(e); err != nil {
			return fmt.Errorf("forging event %d: %w", i, err)
		}
	}
	secret, public, err := note.GenerateKey(rand.Reader, origin)
	if err != nil {
		return fmt.Errorf("making a key to forge with: %w", err)
	}
	signer, err := note.NewSigner(secret)
	if err != nil {
		return fmt.Errorf("making a key to forge with: %w", err)
	}
	f.checkpoint, err = proof.SignCheckpoint(proof.Checkpoint{Origin: origin, Size: uint64(len(f.leaves)), Root: f.root()}, signer)
	if err != nil {
		return fmt.Errorf("forging a checkpoint: %w", err)
	}
	if err := os.WriteFile(ledger.FolderAt(f.dir).VerifierKey(), []byte(public+"\n"), 0o644); err != nil {
		return fmt.Errorf("writing the forger's public key: %w", err)
	}
	return f.write()
}

func newSigner() (*statement.Signer, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making a key to forge with: %w", err)
	}
	return statement.NewSigner(key), nil
}

// stolenSigner signs with the ledger's own statement key.
func stolenSigner(keys string) (*statement.Signer, error) {
	files, err := filepath.Glob(filepath.Join(keys, "statement-*.pem"))
	if err != nil || len(files) != 1 {
		return nil, errors.Join(fmt.Errorf("there are %d statement keys to steal, want 1", len(files)), err)
	}
	text, err := os.ReadFile(files[0])
	if err != nil {
		return nil, fmt.Errorf("stealing a statement key: %w", err)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("the statement key to steal is no PEM file")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("stealing a statement key: %w", err)
	}
	key, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		return nil, errors.New("the statement key to steal is not an Ed25519 key")
	}
	return statement.NewSigner(key), nil
}
