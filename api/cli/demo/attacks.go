package demo

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/ledger"
	"github.com/medledger/medledger/verifier/proof"
	"github.com/medledger/medledger/verifier/segment"
)

// flipRaw flips a bit in the middle of the first statement on the disk.
func (f *forgery) flipRaw() error {
	name := filepath.Join(f.store(), segment.FileName(0))
	file, err := os.ReadFile(name)
	if err != nil {
		return fmt.Errorf("reading a segment: %w", err)
	}
	file[segment.HeaderSize+f.leaves[0].Size()/2] ^= 1
	if err := os.WriteFile(name, file, 0o600); err != nil {
		return fmt.Errorf("writing a segment: %w", err)
	}
	return nil
}

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

// rollBack removes all that came after the checkpoints that were put aside.
func (s *story) rollBack(f *forgery) error {
	states, err := proof.PeekCheckpoint(s.early.state)
	if err != nil {
		return fmt.Errorf("reading a checkpoint that was put aside: %w", err)
	}
	f.leaves, f.states = f.leaves[:s.early.size], f.states[:states.Size]
	f.checkpoint, f.stateCheckpoint = s.early.note, s.early.state
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
	return s.blame(f, i, signer.Sign)
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
	keys, err := steal(s.at.Secrets)
	if err != nil {
		return err
	}
	return s.blame(f, i, func(e events.Event) ([]byte, error) { return keys.again(f.kids[i], e) })
}

// blame makes the nurse the one who did a reading.
func (s *story) blame(f *forgery, i int, sign func(events.Event) ([]byte, error)) (err error) {
	e := f.events[i]
	blamed := *e.Data.(*events.RecordAccessed)
	blamed.Actor = s.cast.nurse.id
	e.Data = &blamed
	if f.leaves[i].Statement, err = sign(e); err != nil {
		return fmt.Errorf("forging an event: %w", err)
	}
	return f.write()
}

// rewrite makes a history in which the nurse did all that the doctor read, which
// the rules allow as well: signed from the first event to the checkpoints with
// keys of his own. Only the log's public key tells it from the true one.
func (s *story) rewrite(f *forgery) error {
	own, err := newKeys()
	if err != nil {
		return err
	}
	for i, e := range f.events {
		switch d := e.Data.(type) {
		case *events.LedgerOpened:
			d.StatementKeys = []events.StatementKey{own.statement.JWK()}
		case *events.KeyRotated:
			d.StatementKeys = []events.StatementKey{own.statement.JWK()}
		case *events.StateLogOpened:
			d.PublicKey = own.statePublic
		case *events.RecordAccessed:
			if d.Actor == s.cast.doctor.id {
				d.Actor = s.cast.nurse.id
			}
		}
		if f.leaves[i].Statement, err = own.statement.Sign(e); err != nil {
			return fmt.Errorf("forging event %d: %w", i, err)
		}
	}
	if err := f.recount(truly); err != nil {
		return err
	}
	if err := f.sign(own.log, own.state); err != nil {
		return err
	}
	if err := os.WriteFile(ledger.FolderAt(f.dir).VerifierKey(), []byte(own.logPublic+"\n"), 0o644); err != nil {
		return fmt.Errorf("writing the forger's public key: %w", err)
	}
	return f.put()
}
