package bench

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/ledger"
	"github.com/medledger/medledger/ledger/vault"
)

// Line is a line of what --load writes to stdout, as a JSON object: what was
// promised to a caller. It is written with one call, after the ledger has
// answered and before the caller goes on, so whoever kills the process knows
// everything that it may not have lost. Of the three kinds of line only one kind
// of field is set.
type Line struct {
	// Opened is how many events the log had when it was opened, which took
	// Micros microseconds. It is the first line.
	Opened *uint64 `json:"opened,omitempty"`
	Micros int64   `json:"micros,omitempty"`
	// Ack is an event that the ledger answered with.
	Ack *Ack `json:"ack,omitempty"`
	// None is the id of something that was refused for good and that no event
	// may ever mention: the correlation of a command, or an actor that there is
	// not.
	None events.ID `json:"none,omitzero"`
}

// Ack is an event that is durable and in the log.
type Ack struct {
	Event     events.ID     `json:"event"`
	Index     uint64        `json:"index"`
	Statement events.Digest `json:"statement"` // its SHA-256
	Type      events.Type   `json:"type"`
	Record    events.ID     `json:"record,omitzero"`
	// Version is the version of the record that the event made, with a content
	// of the given SHA-256.
	Version uint32        `json:"version,omitempty"`
	Content events.Digest `json:"content,omitzero"`
	// Key is the idempotency key of the command, if it was an origination with
	// one: Repeat gives the same command again.
	Key     string    `json:"key,omitempty"`
	Actor   events.ID `json:"actor,omitzero"`
	Patient events.ID `json:"patient,omitzero"`
}

// Repeat gives the command of an origination again, which must answer with the
// same event.
func (a Ack) Repeat(ctx context.Context, l *ledger.Ledger) (*ledger.Result, error) {
	return l.Originate(ctx, ledger.Command{Actor: a.Actor, IdempotencyKey: a.Key}, origination(a.Patient), bytes.NewReader(contentOf(a.Key)))
}

// contentOf returns the content of an origination with an idempotency key.
func contentOf(key string) []byte {
	b := make([]byte, contentSize)
	rand.NewChaCha8(sha256.Sum256([]byte(key))).Read(b) // never fails
	return b
}

// pool is how many records the load works on at a time: few, so that commands
// meet on the same record.
const pool = 100

// load is a mixed load on a ledger, until its context ends.
type load struct {
	*scene
	name string // tells the idempotency keys of this load from another's

	mu      sync.Mutex
	out     io.Writer
	rotates sync.Mutex // held by the one rotation that goes on
	keys    atomic.Int64
}

// Load opens the ledger in a folder and puts a mixed load on it until ctx ends,
// when it finishes the commands that are under way and closes the ledger. It
// writes a Line to out for everything that it was promised.
func Load(ctx context.Context, config ledger.Config, workers int, out io.Writer) (err error) {
	start := time.Now()
	opened, err := ledger.Open(ctx, config)
	if err != nil {
		return err
	}
	took := time.Since(start)
	defer func() { err = errors.Join(err, opened.Close()) }()
	size := opened.Log().Published().Checkpoint.Size
	s, err := enter(ctx, opened)
	if err != nil {
		return err
	}
	if err := s.survey(ctx, size-min(size, 2048)); err != nil {
		return err
	}
	s.records = s.records[max(len(s.records)-pool, 0):]
	l := &load{scene: s, name: events.MustNewID().String(), out: out}
	if err := l.write(Line{Opened: &size, Micros: took.Microseconds()}); err != nil {
		return err
	}
	commands := context.WithoutCancel(ctx)
	_, err = drive(commands, uint64(start.UnixNano()), workers, until(ctx.Done()), l.act)
	return err
}

func (l *load) write(line Line) error {
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
	do     func(*load, context.Context, *worker) error
}{
	{240, (*load).create},
	{80, (*load).createWithKey},
	{200, (*load).amend},
	{60, (*load).amendTogether},
	{199, (*load).access},
	{80, (*load).accessRefused},
	{40, (*load).accessByNobody},
	{60, (*load).share},
	{40, (*load).destroy},
	{1, (*load).rotate},
}

func (l *load) act(ctx context.Context, w *worker) error {
	if l.known() < pool/2 {
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
func (l *load) command(actor events.ID) ledger.Command {
	return ledger.Command{Actor: actor, Correlation: events.MustNewID()}
}

// settle writes down how a command was answered. An answer that this load cannot
// have brought about is returned.
func (l *load) settle(c ledger.Command, r *ledger.Result, err error, ack Ack) error {
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

func (l *load) acknowledge(r *ledger.Result, ack Ack) error {
	ack.Event, ack.Index, ack.Type = r.Event.ID, r.Index, r.Event.Type
	ack.Statement = sha256.Sum256(r.Statement)
	if _, isActor := r.Event.Data.(*events.ActorRegistered); !isActor {
		ack.Record = r.Event.Subject
	}
	return l.write(Line{Ack: &ack})
}

func (l *load) create(ctx context.Context, w *worker) error {
	c, content := l.command(l.clinician), w.fresh()
	r, err := l.Originate(ctx, c, origination(events.MustNewID()), bytes.NewReader(content))
	if err := l.settle(c, r, err, Ack{Version: 1, Content: sha256.Sum256(content)}); err != nil || r == nil {
		return err
	}
	l.keep(r.Event.Subject, w)
	return nil
}

// keep adds a record to those that the load works on, in place of another if
// there are enough.
func (l *load) keep(record events.ID, w *worker) {
	if l.known() >= pool {
		l.take(w)
	}
	l.add(record)
}

// createWithKey gives the same command twice at the same time, and the same key
// with another content.
func (l *load) createWithKey(ctx context.Context, w *worker) error {
	key := fmt.Sprintf("%s-%d", l.name, l.keys.Add(1))
	patient, content := events.MustNewID(), contentOf(key)
	ack := Ack{Version: 1, Content: sha256.Sum256(content), Key: key, Actor: l.clinician, Patient: patient}
	err := together(func() error {
		c := l.command(l.clinician)
		c.IdempotencyKey = key
		r, err := l.Originate(ctx, c, origination(patient), bytes.NewReader(content))
		return l.settle(c, r, err, ack)
	})
	if err != nil {
		return err
	}
	c := l.command(l.clinician)
	c.IdempotencyKey = key
	r, err := l.Originate(ctx, c, origination(patient), bytes.NewReader(w.fresh()))
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

func (l *load) amend(ctx context.Context, w *worker) error {
	return l.amendRecord(ctx, l.pick(w), bytes.Clone(w.fresh()))
}

// amendTogether has two people amend the same record at the same time.
func (l *load) amendTogether(ctx context.Context, w *worker) error {
	record, content := l.pick(w), bytes.Clone(w.fresh())
	return together(func() error { return l.amendRecord(ctx, record, content) })
}

func (l *load) amendRecord(ctx context.Context, record events.ID, content []byte) error {
	c := l.command(l.clinician)
	r, err := l.Amend(ctx, c, ledger.Amendment{Record: record}, bytes.NewReader(content))
	ack := Ack{Content: sha256.Sum256(content)}
	if err == nil {
		ack.Version = r.Event.Data.(*events.RecordAmended).Version
	}
	return l.settle(c, r, err, ack)
}

func (l *load) access(ctx context.Context, w *worker) error {
	return l.accessBy(ctx, l.clinician, l.pick(w))
}

func (l *load) accessRefused(ctx context.Context, w *worker) error {
	return l.accessBy(ctx, l.recipient, l.pick(w))
}

// accessByNobody asks in the name of an actor that does not exist: neither the
// command nor the name may reach the log.
func (l *load) accessByNobody(ctx context.Context, w *worker) error {
	nobody := events.MustNewID()
	if err := l.accessBy(ctx, nobody, l.pick(w)); err != nil {
		return err
	}
	return l.write(Line{None: nobody})
}

func (l *load) accessBy(ctx context.Context, actor, record events.ID) error {
	c := l.command(actor)
	r, err := l.Access(ctx, c, ledger.Reading{Record: record, Purpose: events.PurposeTreatment})
	if err != nil {
		return l.settle(c, nil, err, Ack{})
	}
	return l.released(c, r)
}

// released reads a content to its end and writes its event down. A destruction
// may cut the reading short.
func (l *load) released(c ledger.Command, r *ledger.Release) error {
	_, err := io.Copy(io.Discard, r.Content.Reader)
	if err = errors.Join(err, r.Content.Reader.Close()); err != nil && !errors.Is(err, vault.ErrDestroyed) {
		return err
	}
	return l.settle(c, r.Result, nil, Ack{})
}

// share discloses a record and has the recipient receive it.
func (l *load) share(ctx context.Context, w *worker) error {
	c, record := l.command(l.clinician), l.pick(w)
	r, err := l.Disclose(ctx, c, ledger.Disclosure{
		Record: record, Recipient: l.recipient, Purpose: events.PurposeTreatment,
		Until: events.At(time.Now().Add(time.Hour)),
	})
	if err := l.settle(c, r, err, Ack{}); err != nil || r == nil {
		return err
	}
	c = l.command(l.recipient)
	received, err := l.Receive(ctx, c, record, r.Event.Data.(*events.RecordDisclosed).Share)
	if err != nil {
		return l.settle(c, nil, err, Ack{})
	}
	return l.released(c, received)
}

// destroy destroys a record that others may be at work on.
func (l *load) destroy(ctx context.Context, w *worker) error {
	c, record := l.command(l.clerk), l.take(w)
	r, err := l.Destroy(ctx, c, ledger.Destruction{Record: record, Approver: l.administrator, Ground: events.GroundRetentionEnded})
	return l.settle(c, r, err, Ack{})
}

// rotate replaces the statement key, one rotation at a time.
func (l *load) rotate(ctx context.Context, _ *worker) error {
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
