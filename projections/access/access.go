// Package access is the projection that commands are decided on: the actors, the
// patients with their rights, and the lives of the records, in memory, with a copy
// in SQLite that spares a restart the replay of the whole log.
//
// The ledger's single writer applies every event to it in the turn that makes the
// event, so whoever was answered reads their own writes. Position says how far it
// is.
//
// The copy is written behind: a turn's changes reach it some time after the
// turn's events are durable, one transaction for many turns. It may lag, and
// never leads, so a crash costs a replay from the copy's position and nothing
// else. The copy is derived data; deleting it costs a full replay.
package access

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/fxamacker/cbor/v2"
	_ "modernc.org/sqlite" // the "sqlite" driver of database/sql

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/events/store/disk"
	"github.com/medledger/medledger/verifier/life"
)

// formatVersion changes whenever the rows of the copy change their meaning; a
// copy of another version is thrown away and made again from the log.
const formatVersion = 4

// The copy is written when flushRows rows have changed, or when it lags
// flushEvents behind. Fewer means a shorter replay after a crash, more means less
// writing: a record that is read again and again is written once.
const (
	flushRows   = 8192
	flushEvents = 16384
)

// Projection is the state and its copy. State and Apply belong to one goroutine,
// the ledger's; Persist may be called from another.
type Projection struct {
	state *life.State
	db    *sql.DB

	logger *slog.Logger
	seal   seal // of the goroutine that writes the copy

	mu      sync.Mutex
	pending map[events.ID]row
	head    life.Head
	written uint64 // how many events the copy covers
	kick    chan struct{}
	done    chan struct{}
}

// Changes is what a turn changed, encoded as of the end of the turn.
type Changes struct {
	head life.Head
	rows map[events.ID]row
}

type row struct {
	table string
	value []byte
}

// Config says where the copy is. All fields are needed.
type Config struct {
	// Path is the copy's file.
	Path string
	// Key authenticates the copy; 32 bytes that stay secret.
	Key []byte
	// Events is how many events the event store has.
	Events uint64
	// Logger is told of a copy that is thrown away or cannot be written.
	Logger *slog.Logger
}

// Open loads the copy, or makes an empty one. The caller then applies the events
// from State().Head().Size on. A copy that cannot be read, that was not written
// with the key, that is of another version or that covers more events than there
// are is replaced by an empty one: it is cheaper to replay than to trust it.
func Open(ctx context.Context, c Config) (*Projection, error) {
	p, err := load(ctx, c)
	if err == nil && p.state.Head().Size > c.Events {
		err = errors.Join(fmt.Errorf("it covers %d events of %d", p.state.Head().Size, c.Events), p.Close())
	}
	if err == nil || ctx.Err() != nil {
		return p, err
	}
	c.Logger.Warn("the copy of the state cannot be used; making it again from the events", "because", err)
	if err := Remove(c.Path); err != nil {
		return nil, err
	}
	return load(ctx, c)
}

// State returns the state. It belongs to the goroutine that calls Apply.
func (p *Projection) State() *life.State { return p.state }

// Apply adds an event to the state and notes in changes what it changed.
func (p *Projection) Apply(index uint64, e events.Event, changes *Changes) error {
	if err := p.state.Apply(index, e); err != nil {
		return err
	}
	return changes.note(p.state, e)
}

func (c *Changes) note(s *life.State, e events.Event) error {
	c.head = s.Head()
	for _, id := range life.Touched(e) {
		changed, err := rowOf(s, id)
		if err != nil {
			return fmt.Errorf("encoding the state of %v: %w", id, err)
		}
		if changed.table == "" {
			continue // the ledger itself: its state is the head
		}
		if c.rows == nil {
			c.rows = make(map[events.ID]row)
		}
		c.rows[id] = changed
	}
	return nil
}

// rowOf encodes what the state says of somebody or something.
func rowOf(s *life.State, id events.ID) (r row, err error) {
	if record := s.Record(id); record != nil {
		r.table = "record"
		r.value, err = cbor.Marshal(record)
	} else if patient := s.Patient(id); patient != nil {
		r.table = "patient"
		r.value, err = cbor.Marshal(patient)
	} else if actor, ok := s.Actor(id); ok {
		r.table = "actor"
		r.value, err = cbor.Marshal(actor)
	}
	return r, err
}

// Position is how many events were applied. It belongs to the goroutine that calls
// Apply.
func (p *Projection) Position() uint64 { return p.state.Head().Size }

// Persist hands over the changes of events that are durable, in the order of
// the turns. It does not wait for the copy.
func (p *Projection) Persist(c Changes) {
	p.mu.Lock()
	for id, r := range c.rows {
		p.pending[id] = r
	}
	p.head = c.head
	full := len(p.pending) >= flushRows || p.head.Size-p.written >= flushEvents
	p.mu.Unlock()
	if full {
		select {
		case p.kick <- struct{}{}:
		default: // the writer has been told
		}
	}
}

// Close writes what is pending and closes the copy.
func (p *Projection) Close() error {
	close(p.kick)
	<-p.done
	err := p.flush(nil)
	return errors.Join(err, p.db.Close())
}

// behind reports whether the copy lags by more than two flushes.
func (p *Projection) behind() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.pending) >= 2*flushRows || p.head.Size-p.written >= 2*flushEvents
}

// run writes the copy until Close.
func (p *Projection) run() {
	defer close(p.done)
	for range p.kick {
		if err := p.flush(&disk.Pace{Hurry: p.behind}); err != nil {
			p.logger.Error("the copy of the state lags behind; the next start replays more", "cause", err)
		}
	}
}
