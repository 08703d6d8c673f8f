package ledger

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/events/store"
	"github.com/medledger/medledger/projections/access"
	"github.com/medledger/medledger/verifier/decision"
	"github.com/medledger/medledger/verifier/life"
	"github.com/medledger/medledger/verifier/proof"
	"github.com/medledger/medledger/verifier/statement"
)

// proposal is a command that waits for its turn.
type proposal struct {
	// request is what is asked for, if the access rules are asked.
	request decision.Request
	// id is the event's id if the command has one of its own; else it gets one.
	id                     events.ID
	correlation, causation events.ID
	// actor and token are who gives the command and what they logged in with.
	actor, token events.ID
	// decide turns the command into what happened, to which subject. It sees the
	// state at the event's own index and must not change it. An error means
	// that nothing happened and nothing is logged.
	decide func(s *life.State, now moment) (events.ID, events.Data, error)
	// rotates is the signer that the event announces, if it announces one: it
	// signs everything after the event, which ends the turn.
	rotates *statement.Signer
	// insists says that whoever proposed it waits for the answer even if their
	// context ends, once it was taken.
	insists bool
	// then is decided right after this one if this one becomes an event, in the
	// same turn: no crash leaves one without the other. Nobody waits for its answer.
	then *proposal
	done chan outcome // of capacity 1
}

// moment is when and where in the log a command is decided.
type moment struct {
	index uint64
	time  events.Timestamp
}

// outcome answers a proposal.
type outcome struct {
	result *Result
	err    error
}

// turn is what the two stages pass on.
type turn struct {
	taken   []*proposal
	items   []*item
	repeats []repeat
	changes access.Changes
	// byID has the items of this turn, before those of the previous one, which may not be
	// stored yet; older ones are, because the stages hand over one turn at a time.
	byID, before map[events.ID]*item
}

// item is an event of a turn.
type item struct {
	proposal *proposal
	event    events.Event
	index    uint64
	signer   *statement.Signer
	expected store.Expected
	raw      []byte
	hash     proof.Hash
	err      error
}

// repeat is a proposal whose event exists: it is answered with that.
type repeat struct {
	proposal *proposal
	earlier  *item // of this turn or the one before; or nil, then
	record   store.Record
}

// submit queues a proposal and waits for its answer. If ctx ends first, the
// event may yet happen.
func (l *Ledger) submit(ctx context.Context, p *proposal) (*Result, error) {
	p.done = make(chan outcome, 1)
	select {
	case l.proposals <- p:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-l.closing:
		return nil, l.stopped()
	}
	if p.insists {
		o := <-p.done
		return o.result, o.err
	}
	select {
	case o := <-p.done:
		return o.result, o.err
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", ErrUnknownOutcome, ctx.Err())
	}
}

// decideLoop is the first stage. It ends when the ledger closes or fails, after
// answering what it had taken.
//
// A turn grows until the second stage takes it. Were it closed before, the first of
// those who come while the second stage is busy would be a turn of one or two events,
// which takes as long as a large one: half of all turns were.
func (l *Ledger) decideLoop() {
	defer close(l.turns)
	before := make(map[events.ID]*item)
	for {
		taken := l.take()
		if taken == nil {
			return
		}
		t := &turn{byID: make(map[events.ID]*item), before: before}
		for taken != nil {
			t.taken = append(t.taken, taken...)
			if err := l.decide(t, taken); err != nil {
				l.fail(err)
				answerAll(t.taken, l.stopped())
				return
			}
			taken = l.handOver(t)
		}
		before = t.byID
	}
}

// take waits for proposals and returns those that there are, or nil at the end.
func (l *Ledger) take() []*proposal {
	select {
	case p := <-l.proposals:
		return l.takeMore(p, l.config.TurnSize)
	case <-l.closing:
		return nil
	}
}

// takeMore returns the proposals that there are, at most n, of which the first was
// taken.
func (l *Ledger) takeMore(first *proposal, n int) []*proposal {
	taken := []*proposal{first}
	for len(taken) < n && taken[len(taken)-1].rotates == nil {
		select {
		case p := <-l.proposals:
			taken = append(taken, p)
			continue
		default:
		}
		break
	}
	return taken
}

// handOver gives a turn to the second stage, and returns nil; or it returns proposals
// that came while that stage was busy and that the turn has room for.
func (l *Ledger) handOver(t *turn) []*proposal {
	more := l.proposals
	if len(t.taken) >= l.config.TurnSize || t.taken[len(t.taken)-1].rotates != nil {
		more = nil
	}
	select {
	case l.turns <- t:
		return nil
	case p := <-more:
		return l.takeMore(p, l.config.TurnSize-len(t.taken))
	}
}

// answerAll gives an error to all who have no answer yet.
func answerAll(ps []*proposal, err error) {
	for _, p := range ps {
		select {
		case p.done <- outcome{err: err}:
		default:
		}
	}
}

// decide adds the events of proposals to a turn and signs them. An error means that the
// ledger itself is broken.
func (l *Ledger) decide(t *turn, taken []*proposal) error {
	decided := len(t.items)
	if err := l.decideAll(t, taken); err != nil {
		return err
	}
	return sign(t.items[decided:])
}

// decideAll decides the proposals in order, and applies their events to the
// state.
func (l *Ledger) decideAll(t *turn, taken []*proposal) error {
	l.stateMu.Lock()
	defer l.stateMu.Unlock()
	for _, p := range taken {
		// Before anything else: what an earlier command led to is not for
		// somebody either whose token is worth nothing any more.
		if !l.loggedIn(p) {
			p.done <- outcome{err: ErrUnauthenticated}
			continue
		}
		if !p.id.IsZero() {
			if earlier := cmp.Or(t.byID[p.id], t.before[p.id]); earlier != nil {
				t.repeats = append(t.repeats, repeat{proposal: p, earlier: earlier})
				continue
			}
			switch record, err := l.store.Lookup(context.Background(), p.id); {
			case err == nil:
				t.repeats = append(t.repeats, repeat{proposal: p, record: record})
				continue
			case !errors.Is(err, store.ErrNotFound):
				return fmt.Errorf("looking up a repeated command: %w", err)
			}
		}
		for ; p != nil; p = p.then {
			it, err := l.decideOne(p, &t.changes)
			if err != nil {
				p.done <- outcome{err: err}
				break
			}
			t.byID[it.event.ID] = it
			t.items = append(t.items, it)
			if p.rotates != nil {
				l.signer = p.rotates
			}
		}
	}
	return nil
}

// now is when and where the next event is decided. Times never run backwards,
// whatever the clock does.
func (l *Ledger) now() moment {
	head := l.access.State().Head()
	return moment{index: head.Size, time: max(events.At(l.config.Clock()), head.Time)}
}

// loggedIn reports whether the token that a command was given with is worth
// something in its turn.
func (l *Ledger) loggedIn(p *proposal) bool {
	return p.token.IsZero() || alive(l.access.State(), p.actor, p.token, l.now().time)
}

// decideOne decides a proposal and applies its event to the state.
func (l *Ledger) decideOne(p *proposal, changes *access.Changes) (*item, error) {
	state := l.access.State()
	now := l.now()
	subject, data, err := p.decide(state, now)
	if err != nil {
		return nil, err
	}
	id := p.id
	if id.IsZero() {
		if id, err = events.NewOrderedID(now.time.Time(), l.config.Random); err != nil {
			return nil, err
		}
	}
	event := events.Event{
		ID: id, Source: l.origin, Type: data.EventType(), Subject: subject, Time: now.time,
		Correlation: p.correlation, Causation: p.causation, Data: data,
	}
	if err := event.Check(); err != nil {
		return nil, err
	}
	it := &item{proposal: p, event: event, index: now.index, signer: l.signer, expected: expectedRevision(state, event)}
	return it, l.access.Apply(now.index, event, changes)
}

// expectedRevision is what an event demands of its subject's stream. Only what
// changes a life demands anything, so that reads of a record never conflict.
func expectedRevision(s *life.State, e events.Event) store.Expected {
	switch e.Data.(type) {
	case *events.LedgerOpened, *events.ActorRegistered, *events.PatientRegistered, *events.RecordOriginated:
		return store.NoStream
	case *events.PatientMerged, *events.PatientErased:
		if p := s.Patient(e.Subject); p != nil && p.Events > 0 {
			return store.Expected(p.Events) - 1
		}
	case *events.RecordAmended, *events.RecordRefiled, *events.RecordDisclosed, *events.DestructionRequested,
		*events.DestructionStarted, *events.RecordDestroyed:
		if r := s.Record(e.Subject); r != nil {
			return store.Expected(r.Events) - 1
		}
	}
	return store.Any
}

// sign makes the statements of a turn. Signing is the dearest step of a turn
// (an Ed25519 signature costs as much as everything else an event needs), so it
// is spread over the cores.
func sign(items []*item) error {
	workers := min(runtime.GOMAXPROCS(0), (len(items)+3)/4)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := w; i < len(items); i += workers {
				it := items[i]
				if it.raw, it.err = it.signer.Sign(it.event); it.err == nil {
					it.hash = proof.LeafHash(it.raw)
				}
			}
		})
	}
	wg.Wait()
	for _, it := range items {
		if it.err != nil {
			return fmt.Errorf("signing event %d: %w", it.index, it.err)
		}
	}
	return nil
}
