package crash

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/medledger/medledger/api/cli/load"
	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/ledger"
	"github.com/medledger/medledger/verifier/decision"
	"github.com/medledger/medledger/verifier/statement"
)

// judge holds one ledger to its promises, round after round.
type judge struct {
	dir  string
	kept string // the checkpoint of the last round that medverify was run in
	rng  *rand.Rand

	// What the log said up to scanned.
	scanned    uint64
	ids        map[events.ID]uint64      // of every event: its index
	destroying map[events.ID]bool        // records whose destruction is started and not complete
	destroyed  map[events.ID]bool        // records
	contents   map[content]events.Digest // acknowledged

	none map[events.ID]bool // must not occur
	acks int
}

// content names a version of a record.
type content struct {
	record  events.ID
	version uint32
}

func newJudge(dir string, rng *rand.Rand) *judge {
	return &judge{
		dir: dir, kept: filepath.Join(filepath.Dir(dir), "kept"), rng: rng,
		ids: make(map[events.ID]uint64), destroying: make(map[events.ID]bool), destroyed: make(map[events.ID]bool),
		contents: make(map[content]events.Digest), none: make(map[events.ID]bool),
	}
}

// hear notes what a killed process had promised.
func (j *judge) hear(lines []load.Line) {
	for _, line := range lines {
		if !line.None.IsZero() {
			j.none[line.None] = true
		}
		if a := line.Ack; a != nil {
			j.acks++
			if a.Version > 0 {
				j.contents[content{a.Record, a.Version}] = a.Content
			}
		}
	}
}

// hold opens the ledger, as the next start would, and checks everything. It
// returns how long opening took.
func (j *judge) hold(t *testing.T, lines []load.Line) time.Duration {
	t.Helper()
	j.hear(lines)
	begun := time.Now()
	l, err := ledger.Open(t.Context(), ledger.Config{Dir: j.dir})
	if err != nil {
		t.Fatalf("opening after the kill: %v", err)
	}
	took := time.Since(begun)
	err = errors.Join(
		j.scan(t.Context(), l),
		j.acknowledged(t.Context(), l, lines),
		j.open(t.Context(), l),
		j.repeats(t.Context(), l, lines),
		l.Close())
	if err != nil {
		t.Fatal(err)
	}
	return took
}

// scan reads what the log has gained: each leaf is an event of its own, of which
// none mentions what was refused without a trace, and no destruction is left
// half-way.
func (j *judge) scan(ctx context.Context, l *ledger.Ledger) error {
	for size := l.Log().Published().Checkpoint.Size; j.scanned < size; {
		leaves, err := l.Log().Leaves(ctx, j.scanned, 4096)
		if err != nil {
			return err
		}
		for _, leaf := range leaves {
			if err := j.see(leaf); err != nil {
				return fmt.Errorf("event %d: %w", j.scanned, err)
			}
			j.scanned++
		}
	}
	for record := range j.destroying {
		return fmt.Errorf("the destruction of record %v was started and is not complete", record)
	}
	return nil
}

func (j *judge) see(leaf []byte) error {
	parsed, err := statement.Parse(leaf)
	if err != nil {
		return err
	}
	e := parsed.Event
	if before, ok := j.ids[e.ID]; ok {
		return fmt.Errorf("it is event %d again", before)
	}
	j.ids[e.ID] = j.scanned
	for id := range idsIn(parsed.Payload) {
		if j.none[id] {
			return fmt.Errorf("%s mentions %v, which was refused", e.Type, id)
		}
	}
	switch e.Data.(type) {
	case *events.DestructionStarted:
		j.destroying[e.Subject] = true
	case *events.RecordDestroyed:
		delete(j.destroying, e.Subject)
		j.destroyed[e.Subject] = true
	}
	return nil
}

// idsIn yields everything in a payload that reads as an id.
func idsIn(payload []byte) func(func(events.ID) bool) {
	return func(yield func(events.ID) bool) {
		for _, part := range bytes.Split(payload, []byte{'"'}) {
			if id, err := events.ParseID(string(part)); err == nil && !yield(id) {
				return
			}
		}
	}
}

// acknowledged checks that every event that somebody was told of is there.
func (j *judge) acknowledged(ctx context.Context, l *ledger.Ledger, lines []load.Line) error {
	for _, line := range lines {
		a := line.Ack
		if a == nil {
			continue
		}
		leaf, err := l.Log().Leaf(ctx, a.Index)
		if err != nil {
			return fmt.Errorf("acknowledged event %d (%s, %v): %w", a.Index, a.Type, a.Event, err)
		}
		if sha256.Sum256(leaf) != a.Statement {
			return fmt.Errorf("acknowledged event %d (%s, %v) has other bytes", a.Index, a.Type, a.Event)
		}
		if index, ok := j.ids[a.Event]; !ok || index != a.Index {
			return fmt.Errorf("acknowledged event %v is at %d, not at %d", a.Event, index, a.Index)
		}
	}
	return nil
}

// samples is how many contents, and how many commands, are tried in a round.
const samples = 40

// open reads acknowledged contents, of this round and of earlier ones: they are
// what they were, or their record was destroyed and is closed.
func (j *judge) open(ctx context.Context, l *ledger.Ledger) error {
	clinician, err := register(ctx, l)
	if err != nil {
		return err
	}
	tried := 0
	for c, want := range j.contents {
		if tried++; tried > samples { // Go starts anywhere in a map
			break
		}
		r, err := l.Access(ctx, ledger.Command{Actor: clinician}, ledger.Reading{
			Record: c.record, Version: c.version, Purpose: events.PurposeTreatment,
		})
		if j.destroyed[c.record] {
			var refused *ledger.RefusedError
			if !errors.As(err, &refused) || refused.Reason != decision.RefusedDestroyed {
				return fmt.Errorf("reading destroyed record %v: %v", c.record, err)
			}
			delete(j.contents, c)
			continue
		}
		if err != nil {
			return fmt.Errorf("reading record %v version %d, which was acknowledged: %w", c.record, c.version, err)
		}
		raw, err := io.ReadAll(r.Content.Reader)
		if err := errors.Join(err, r.Content.Reader.Close()); err != nil {
			return fmt.Errorf("reading record %v version %d, which was acknowledged: %w", c.record, c.version, err)
		}
		if sha256.Sum256(raw) != want {
			return fmt.Errorf("record %v version %d has another content than was acknowledged", c.record, c.version)
		}
	}
	return nil
}

// register makes somebody who may read the records of the load.
func register(ctx context.Context, l *ledger.Ledger) (events.ID, error) {
	raw, err := l.Log().Leaf(ctx, 1)
	if err != nil {
		return events.ID{}, err
	}
	founder, err := statement.Parse(raw)
	if err != nil {
		return events.ID{}, err
	}
	r, err := l.Register(ctx, ledger.Command{Actor: founder.Event.Subject}, ledger.Registration{
		Role: events.RoleClinician, Organisation: founder.Event.Data.(*events.ActorRegistered).Organisation,
	})
	if err != nil {
		return events.ID{}, err
	}
	return r.Event.Subject, nil
}

// repeats gives commands with an idempotency key again, as a client would that
// was cut off: each answers with the event it had.
func (j *judge) repeats(ctx context.Context, l *ledger.Ledger, lines []load.Line) error {
	tried := 0
	for _, i := range j.rng.Perm(len(lines)) {
		a := lines[i].Ack
		if a == nil || a.Key == "" {
			continue
		}
		if tried++; tried > samples {
			break
		}
		r, err := a.Repeat(ctx, l)
		if err != nil {
			return fmt.Errorf("repeating the command of event %v: %w", a.Event, err)
		}
		if r.Event.ID != a.Event || r.Index != a.Index {
			return fmt.Errorf("the command of event %v at %d, repeated, is %v at %d", a.Event, a.Index, r.Event.ID, r.Index)
		}
	}
	return nil
}

// audit has medverify check the whole log, against the checkpoint that was kept
// from its last run, and keeps the new one.
func (j *judge) audit(t *testing.T) {
	t.Helper()
	args := []string{"log", "--dir", j.dir, "--vkey", ledger.Folder(j.dir).VerifierKey()}
	if _, err := os.Stat(j.kept); err == nil {
		args = append(args, "--checkpoint", j.kept)
	}
	if code, out, messages := run(t, medverify, args...); code != 0 {
		t.Fatalf("medverify says %d:\n%s%s", code, out, messages)
	}
	checkpoint, err := os.ReadFile(filepath.Join(ledger.Folder(j.dir).Log(), "checkpoint"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(j.kept, checkpoint, 0o600); err != nil {
		t.Fatal(err)
	}
}
