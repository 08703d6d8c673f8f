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

// pool is how many records the load works on at a time: few, so that commands
// meet on the same record.
const pool = 100

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
	s.records = s.records[max(len(s.records)-pool, 0):]
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
	{240, (*mixed).create},
	{80, (*mixed).createWithKey},
	{200, (*mixed).amend},
	{60, (*mixed).amendTogether},
	{199, (*mixed).access},
	{80, (*mixed).accessRefused},
	{40, (*mixed).accessByNobody},
	{60, (*mixed).share},
	{40, (*mixed).destroy},
	{1, (*mixed).rotate},
}

func (l *mixed) act(ctx context.Context, w *Worker) error {
	if l.Known() < pool/2 {
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

// settle writes down how a command was answered. An answer that this load cannot
// have brought about is returned.
func (l *mixed) settle(c ledger.Command, r *ledger.Result, err error, ack Ack) error {
	var refused *ledger.RefusedError
	switch {
	case errors.As(err, &refused):
		return l.acknowledge(refused.Result, Ack{})
	case err == nil:
		return l.acknowledge(r, ack)
	case errors.Is(err, ledger.ErrConflict), errors.Is(err, ledger.ErrUnknownActor), errors.Is(err, ledger.ErrKeyReused):
		return l.write(Line{None: c.Correlation})
	case errors.Is(err, vault.ErrDestroyed): // of an event that is in the log, or of none
		return nil
	}
	return err
}

func (l *mixed) acknowledge(r *ledger.Result, ack Ack) error {
	ack.Event, ack.Index, ack.Type = r.Event.ID, r.Index, r.Event.Type
	ack.Statement = sha256.Sum256(r.Statement)
	if _, isActor := r.Event.Data.(*events.ActorRegistered); !isActor {
		ack.Record = r.Event.Subject
	}
	return l.write(Line{Ack: &ack})
}

func (l *mixed) create(ctx context.Context, w *Worker) error {
	c, content := l.command(l.Clinician), w.Fresh()
	r, err := l.Originate(ctx, c, Origination(events.MustNewID()), bytes.NewReader(content))
	if err := l.settle(c, r, err, Ack{Version: 1, Content: sha256.Sum256(content)}); err != nil || r == nil {
		return err
	}
	l.keep(r.Event.Subject, w)
	return nil
}

// keep adds a record to those that the load works on, in place of another if
// there are enough.
func (l *mixed) keep(record events.ID, w *Worker) {
	if l.Known() >= pool {
		l.Take(w)
	}
	l.Add(record)
}

// createWithKey gives the same command twice at the same time, and the same key
// with another content.
func (l *mixed) createWithKey(ctx context.Context, w *Worker) error {
	key := fmt.Sprintf("%s-%d", l.name, l.keys.Add(1))
	patient, content := events.MustNewID(), contentOf(key)
	ack := Ack{Version: 1, Content: sha256.Sum256(content), Key: key, Actor: l.Clinician, Patient: patient}
	err := together(func() error {
		c := l.command(l.Clinician)
		c.IdempotencyKey = key
		r, err := l.Originate(ctx, c, Origination(patient), bytes.NewReader(content))
		return l.settle(c, r, err, ack)
	})
	if err != nil {
		return err
	}
	c := l.command(l.Clinician)
	c.IdempotencyKey = key
	r, err := l.Originate(ctx, c, Origination(patient), bytes.NewReader(w.Fresh()))
	if err == nil {
		return fmt.Errorf("event %d answered a command with another content", r.Index)
	}
	return l.settle(c, nil, err, Ack{})
}

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
	return l.settle(c, r, err, ack)
}

func (l *mixed) access(ctx context.Context, w *Worker) error {
	return l.accessBy(ctx, l.Clinician, l.Pick(w))
}

func (l *mixed) accessRefused(ctx context.Context, w *Worker) error {
	return l.accessBy(ctx, l.Recipient, l.Pick(w))
}

// accessByNobody asks in the name of an actor that does not exist: neither the
// command nor the name may reach the log.
func (l *mixed) accessByNobody(ctx context.Context, w *Worker) error {
	nobody := events.MustNewID()
	if err := l.accessBy(ctx, nobody, l.Pick(w)); err != nil {
		return err
	}
	return l.write(Line{None: nobody})
}

func (l *mixed) accessBy(ctx context.Context, actor, record events.ID) error {
	c := l.command(actor)
	r, err := l.Access(ctx, c, ledger.Reading{Record: record, Purpose: events.PurposeTreatment})
	if err != nil {
		return l.settle(c, nil, err, Ack{})
	}
	return l.released(c, r)
}

// released reads a content to its end and writes its event down. A destruction
// may cut the reading short.
func (l *mixed) released(c ledger.Command, r *ledger.Release) error {
	_, err := io.Copy(io.Discard, r.Content.Reader)
	if err = errors.Join(err, r.Content.Reader.Close()); err != nil && !errors.Is(err, vault.ErrDestroyed) {
		return err
	}
	return l.settle(c, r.Result, nil, Ack{})
}

// share discloses a record and has the recipient receive it.
func (l *mixed) share(ctx context.Context, w *Worker) error {
	c, record := l.command(l.Clinician), l.Pick(w)
	r, err := l.Disclose(ctx, c, ledger.Disclosure{
		Record: record, Recipient: l.Recipient, Purpose: events.PurposeTreatment,
		Until: events.At(time.Now().Add(time.Hour)),
	})
	if err := l.settle(c, r, err, Ack{}); err != nil || r == nil {
		return err
	}
	c = l.command(l.Recipient)
	received, err := l.Receive(ctx, c, record, r.Event.Data.(*events.RecordDisclosed).Share)
	if err != nil {
		return l.settle(c, nil, err, Ack{})
	}
	return l.released(c, received)
}

// destroy destroys a record that others may be at work on.
func (l *mixed) destroy(ctx context.Context, w *Worker) error {
	c, record := l.command(l.Clerk), l.Take(w)
	r, err := l.Destroy(ctx, c, ledger.Destruction{Record: record, Approver: l.Administrator, Ground: events.GroundRetentionEnded})
	return l.settle(c, r, err, Ack{})
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
