package load

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/ledger"
	"github.com/medledger/medledger/ledger/vault"
)

// records and persons are how many records, and patients, the load works on at a
// time: few, so that commands meet on the same.
const (
	records = 100
	persons = 20
)

// mixed is a mixed load on a ledger, until its context ends.
type mixed struct {
	*Scene
	name string // tells the idempotency keys of this load from another's

	mu      sync.Mutex
	out     io.Writer
	rotates sync.Mutex // held by the one rotation that goes on
	keys    atomic.Int64
}

// run opens the ledger in a folder and puts a mixed load on it until ctx ends,
// when it finishes the commands that are under way and closes the ledger. It
// writes a Line to out for everything that it was promised.
func run(ctx context.Context, config ledger.Config, workers int, out io.Writer) (err error) {
	start := time.Now()
	opened, err := ledger.Open(ctx, config)
	if err != nil {
		return err
	}
	took := time.Since(start)
	defer func() { err = errors.Join(err, opened.Close()) }()
	size := opened.Log().Published().Checkpoint.Size
	s, err := Enter(ctx, opened)
	if err != nil {
		return err
	}
	if err := s.Survey(ctx, size-min(size, 2048)); err != nil {
		return err
	}
	s.records = s.records[max(len(s.records)-records, 0):]
	s.patients = s.patients[max(len(s.patients)-persons, 0):]
	for len(s.patients) < persons {
		if _, err := s.NewPatient(ctx); err != nil {
			return err
		}
	}
	l := &mixed{Scene: s, name: events.MustNewID().String(), out: out}
	if err := l.write(Line{Opened: &size, Micros: took.Microseconds()}); err != nil {
		return err
	}
	commands := context.WithoutCancel(ctx)
	return Drive(commands, uint64(start.UnixNano()), workers, Until(ctx.Done()), l.act)
}

func (l *mixed) write(line Line) error {
	raw, err := json.Marshal(line)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, err := l.out.Write(append(raw, '\n')); err != nil {
		return fmt.Errorf("telling what the ledger promised: %w", err)
	}
	return nil
}

// acts are what happens under the load, as often in a thousand as its weight
// says.
var acts = []struct {
	weight int
	do     func(*mixed, context.Context, *Worker) error
}{
	{220, (*mixed).create},
	{80, (*mixed).createWithKey},
	{170, (*mixed).amend},
	{50, (*mixed).amendTogether},
	{159, (*mixed).access},
	{60, (*mixed).accessRefused},
	{30, (*mixed).accessByNobody},
	{60, (*mixed).share},
	{50, (*mixed).destroy},
	{40, (*mixed).register},
	{30, (*mixed).care},
	{20, (*mixed).consent},
	{10, (*mixed).merge},
	{10, (*mixed).refile},
	{10, (*mixed).token},
	{1, (*mixed).rotate},
}

func (l *mixed) act(ctx context.Context, w *Worker) error {
	if l.Known() < records/2 {
		return l.create(ctx, w)
	}
	n := w.IntN(1000)
	for _, a := range acts {
		if n -= a.weight; n < 0 {
			return a.do(l, ctx, w)
		}
	}
	return l.access(ctx, w)
}

// command is a command that its events can be told by.
func (l *mixed) command(actor events.ID) ledger.Command {
	return ledger.Command{Actor: actor, Correlation: events.MustNewID()}
}

// settle writes down how a command was answered, and returns its result if it was
// done. An answer that this load cannot have brought about is an error.
func (l *mixed) settle(c ledger.Command, r *ledger.Result, err error, ack Ack) (*ledger.Result, error) {
	if refused := new(ledger.RefusedError); errors.As(err, &refused) {
		return nil, l.acknowledge(refused.Result, Ack{})
	}
	if err == nil {
		return r, l.acknowledge(r, ack)
	}
	for _, without := range []error{
		ledger.ErrConflict, ledger.ErrUnknownActor, ledger.ErrKeyReused, ledger.ErrUnauthenticated,
	} {
		if errors.Is(err, without) {
			return nil, l.write(Line{None: c.Correlation})
		}
	}
	if interrupted(err) { // of an event that is in the log, or of none
		return nil, nil
	}
	return nil, err
}

// interrupted reports whether somebody else's command can have ended one.
func interrupted(err error) bool {
	return errors.Is(err, vault.ErrDestroyed) || errors.Is(err, ledger.ErrRightEnded)
}

func (l *mixed) acknowledge(r *ledger.Result, ack Ack) error {
	ack.Event, ack.Index, ack.Type, ack.Subject = r.Event.ID, r.Index, r.Event.Type, r.Event.Subject
	ack.Statement = sha256.Sum256(r.Statement)
	return l.write(Line{Ack: &ack})
}

func (l *mixed) create(ctx context.Context, w *Worker) error {
	_, err := l.createFor(ctx, w, l.PickPatient(w))
	return err
}

// createFor creates a record of a patient. If nothing can be filed under them any
// more, somebody else takes their place.
func (l *mixed) createFor(ctx context.Context, w *Worker, patient events.ID) (*ledger.Result, error) {
	c, content := l.command(l.Clinician), w.Fresh()
	r, err := l.Originate(ctx, c, Origination(patient), bytes.NewReader(content))
	r, err = l.settle(c, r, err, Ack{Version: 1, Content: sha256.Sum256(content)})
	if err != nil {
		return nil, err
	}
	if r == nil {
		return nil, l.anotherFor(ctx, patient)
	}
	l.keep(r.Event.Subject, w)
	return r, nil
}

// keep adds a record to those that the load works on, in place of another if
// there are enough.
func (l *mixed) keep(record events.ID, w *Worker) {
	if l.Known() >= records {
		l.Take(w)
	}
	l.Add(record)
}

// createWithKey gives the same command twice at the same time, and the same key
// with another content.
func (l *mixed) createWithKey(ctx context.Context, w *Worker) error {
	key := l.key()
	patient, content := l.PickPatient(w), contentOf(key)
	ack := Ack{Version: 1, Content: sha256.Sum256(content), Key: key, Actor: l.Clinician, Patient: patient}
	var done atomic.Bool
	err := together(func() error {
		c := l.command(l.Clinician)
		c.IdempotencyKey = key
		r, err := l.Originate(ctx, c, Origination(patient), bytes.NewReader(content))
		r, err = l.settle(c, r, err, ack)
		if r != nil {
			done.Store(true)
		}
		return err
	})
	if err != nil || !done.Load() {
		return err
	}
	c := l.command(l.Clinician)
	c.IdempotencyKey = key
	r, err := l.Originate(ctx, c, Origination(patient), bytes.NewReader(w.Fresh()))
	if err == nil {
		return fmt.Errorf("event %d answered a command with another content", r.Index)
	}
	_, err = l.settle(c, nil, err, Ack{})
	return err
}

// key is an idempotency key that nobody used.
func (l *mixed) key() string { return fmt.Sprintf("%s-%d", l.name, l.keys.Add(1)) }

// together does the same twice at once.
func together(f func() error) error {
	other := make(chan error, 1)
	go func() { other <- f() }()
	return errors.Join(f(), <-other)
}

func (l *mixed) amend(ctx context.Context, w *Worker) error {
	return l.amendRecord(ctx, l.Pick(w), bytes.Clone(w.Fresh()))
}

// amendTogether has two people amend the same record at the same time.
func (l *mixed) amendTogether(ctx context.Context, w *Worker) error {
	record, content := l.Pick(w), bytes.Clone(w.Fresh())
	return together(func() error { return l.amendRecord(ctx, record, content) })
}

func (l *mixed) amendRecord(ctx context.Context, record events.ID, content []byte) error {
	c := l.command(l.Clinician)
	r, err := l.Amend(ctx, c, ledger.Amendment{Record: record}, bytes.NewReader(content))
	ack := Ack{Content: sha256.Sum256(content)}
	if err == nil {
		ack.Version = r.Event.Data.(*events.RecordAmended).Version
	}
	_, err = l.settle(c, r, err, ack)
	return err
}

func (l *mixed) access(ctx context.Context, w *Worker) error {
	return l.accessBy(ctx, l.command(l.Clinician), l.Pick(w))
}

// accessRefused asks for what somebody inside who does not treat the patient, or
// somebody outside, may not read.
func (l *mixed) accessRefused(ctx context.Context, w *Worker) error {
	who := [...]events.ID{l.Recipient, l.Clerk, l.Visitor}[w.IntN(3)]
	return l.accessBy(ctx, l.command(who), l.Pick(w))
}

// accessByNobody asks in the name of an actor that does not exist: neither the
// command nor the name may reach the log.
func (l *mixed) accessByNobody(ctx context.Context, w *Worker) error {
	nobody := events.MustNewID()
	if err := l.accessBy(ctx, l.command(nobody), l.Pick(w)); err != nil {
		return err
	}
	return l.write(Line{None: nobody})
}

func (l *mixed) accessBy(ctx context.Context, c ledger.Command, record events.ID) error {
	r, err := l.Access(ctx, c, ledger.Reading{Record: record, Purpose: events.PurposeTreatment})
	return l.released(ctx, c, r, err)
}

// released reads a content to its end and writes its event down. The end of the
// right to read it may cut the reading short, which is logged.
func (l *mixed) released(ctx context.Context, c ledger.Command, r *ledger.Release, err error) error {
	if err != nil {
		_, err := l.settle(c, nil, err, Ack{})
		return err
	}
	_, err = io.Copy(io.Discard, r)
	if interrupted(err) {
		err = r.Undelivered(ctx, err)
	}
	if err := errors.Join(err, r.Close()); err != nil {
		return err
	}
	_, err = l.settle(c, r.Result, nil, Ack{})
	return err
}

// rotate replaces the statement key, one rotation at a time.
func (l *mixed) rotate(ctx context.Context, _ *Worker) error {
	if !l.rotates.TryLock() {
		return nil
	}
	defer l.rotates.Unlock()
	r, err := l.RotateStatementKey(ctx)
	if err != nil {
		return err
	}
	return l.acknowledge(r, Ack{})
}
