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
	scanned  uint64
	ids      map[events.ID]uint64   // of every event: its index
	clinic   *clinic                // what can be read, and by whom
	revoked  map[events.ID]bool     // tokens
	unended  map[events.ID]struct{} // records whose destruction is started and not complete
	destroys int

	// What was acknowledged.
	contents map[content]events.Digest
	patients map[events.ID]string // to the identifier
	secrets  map[events.ID]string // of tokens

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
		ids: make(map[events.ID]uint64), clinic: newClinic(), revoked: make(map[events.ID]bool),
		unended: make(map[events.ID]struct{}), contents: make(map[content]events.Digest),
		patients: make(map[events.ID]string), secrets: make(map[events.ID]string), none: make(map[events.ID]bool),
	}
}

// hear notes what a killed process had promised.
func (j *judge) hear(lines []load.Line) {
	for _, line := range lines {
		if !line.None.IsZero() {
			j.none[line.None] = true
		}
		a := line.Ack
		if a == nil {
			continue
		}
		j.acks++
		switch {
		case a.Version > 0:
			j.contents[content{a.Subject, a.Version}] = a.Content
		case a.Identifier != "":
			j.patients[a.Subject] = a.Identifier
		case a.Secret != "":
			j.secrets[a.Token] = a.Secret
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
	err = errors.Join(j.scan(t.Context(), l), j.acknowledged(t.Context(), l, lines))
	if err == nil {
		err = j.visit(t.Context(), l)
	}
	err = errors.Join(err, j.logIn(l), j.repeats(t.Context(), l, lines), l.Close())
	if err != nil {
		t.Fatal(err)
	}
	return took
}

// scan reads what the log has gained: each leaf is an event of its own, of which
// none mentions what was refused without a trace, and no destruction and no erasure
// is left half-way.
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
	for record := range j.unended {
		return fmt.Errorf("the destruction of record %v was started and is not complete", record)
	}
	if !j.clinic.doomed.IsZero() {
		return fmt.Errorf("patient %v lost their last record and was not erased", j.clinic.doomed)
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
	switch d := e.Data.(type) {
	case *events.DestructionStarted:
		j.unended[e.Subject] = struct{}{}
	case *events.RecordDestroyed:
		delete(j.unended, e.Subject)
		j.destroys++
	case *events.TokenRevoked:
		j.revoked[d.Token] = true
	}
	return j.clinic.see(e)
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

// visit reads acknowledged contents and looks acknowledged patients up, of this
// round and of earlier ones: the contents are what they were and the patients whom
// they stand for now, or the log says why they are closed.
func (j *judge) visit(ctx context.Context, l *ledger.Ledger) error {
	s, err := load.Enter(ctx, l)
	if err != nil {
		return err
	}
	tried := 0
	for c, want := range j.contents {
		if tried++; tried > samples { // Go starts anywhere in a map
			break
		}
		if err := j.read(ctx, s, c, want); err != nil {
			return fmt.Errorf("record %v version %d, which was acknowledged: %w", c.record, c.version, err)
		}
	}
	tried = 0
	for patient, identifier := range j.patients {
		if tried++; tried > samples {
			break
		}
		if err := j.find(ctx, s, patient, identifier); err != nil {
			return fmt.Errorf("patient %v, who was acknowledged: %w", patient, err)
		}
	}
	return nil
}

// read reads a content, which somebody outside the department must not.
func (j *judge) read(ctx context.Context, s *load.Scene, c content, want events.Digest) error {
	reading := ledger.Reading{Record: c.record, Version: c.version, Purpose: events.PurposeTreatment}
	if _, err := s.Access(ctx, ledger.Command{Actor: s.Visitor}, reading); !refused(err, decision.RefusedNoRelationship) {
		return fmt.Errorf("whoever does not treat the patient gets %w", err)
	}
	r, err := s.Access(ctx, ledger.Command{Actor: s.Clinician}, reading)
	if why := j.clinic.closed(c.record); why != "" {
		if !refused(err, why) {
			return fmt.Errorf("want %s, got %w", why, err)
		}
		return nil
	}
	if err != nil {
		return err
	}
	raw, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil {
		return err
	}
	if sha256.Sum256(raw) != want {
		return errors.New("it has another content now")
	}
	return nil
}

func (j *judge) find(ctx context.Context, s *load.Scene, patient events.ID, identifier string) error {
	r, err := s.LookUpPatient(ctx, ledger.Command{Actor: s.Clerk},
		ledger.Identifier{System: load.System, Value: identifier}, events.PurposeTreatment)
	person := j.clinic.person(patient)
	if j.clinic.patients[person].erased {
		if !refused(err, decision.RefusedUnknownPatient) && !refused(err, decision.RefusedErased) {
			return fmt.Errorf("they were erased, and looking them up says %w", err)
		}
		return nil
	}
	if err == nil && r.Event.Subject != person {
		err = fmt.Errorf("their identifier finds %v, they are %v now", r.Event.Subject, person)
	}
	return err
}

func refused(err error, reason string) bool {
	var r *ledger.RefusedError
	return errors.As(err, &r) && r.Reason == reason
}

// logIn tries acknowledged tokens: those that were revoked are worthless.
func (j *judge) logIn(l *ledger.Ledger) error {
	for token, secret := range j.secrets {
		who, err := l.Authenticate(secret)
		if j.revoked[token] != errors.Is(err, ledger.ErrUnauthenticated) {
			return fmt.Errorf("token %v, of which the log says revoked %v: %w", token, j.revoked[token], err)
		}
		if err == nil && who.Token != token {
			return fmt.Errorf("token %v is taken for %v", token, who.Token)
		}
	}
	return nil
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

// audit has medverify check the whole log and its state log, against the checkpoints
// that were kept from its last run, and keeps the new ones.
func (j *judge) audit(t *testing.T) {
	t.Helper()
	args := []string{"audit", "--dir", j.dir, "--vkey", ledger.FolderAt(j.dir).VerifierKey()}
	if _, err := os.Stat(j.kept); err == nil {
		args = append(args, "--checkpoint", j.kept)
	}
	if code, out, messages := run(t, medverify, args...); code != 0 {
		t.Fatalf("medverify says %d:\n%s%s", code, out, messages)
	}
	checkpoint, err := os.ReadFile(filepath.Join(ledger.FolderAt(j.dir).Log(), "checkpoint"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(j.kept, checkpoint, 0o600); err != nil {
		t.Fatal(err)
	}
}
