package ledger

import (
	"context"
	"fmt"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/verifier/decision"
	"github.com/medledger/medledger/verifier/life"
)

// Destruction asks for a record's end.
type Destruction struct {
	Record   events.ID
	Approver events.ID // who allowed it: somebody else than the command's actor
	Ground   events.Ground
}

// Destroy destroys a record. First the start of the destruction is made durable
// and logged, which closes the record; then its keys are destroyed; then their
// destruction is logged, and the result is that last event. Once started it
// cannot be undone: what a crash interrupts, the next Open completes.
func (l *Ledger) Destroy(ctx context.Context, c Command, d Destruction) (*Result, error) {
	id, err := events.NewID(l.config.Random)
	if err != nil {
		return nil, err
	}
	request := decision.Request{Action: events.ActionDestroy, Actor: c.Actor, Record: d.Record, Approver: d.Approver}
	started, err := l.perform(ctx, c, underRules(request, func(s *life.State, _ moment, trace events.Decision) (events.ID, events.Data, error) {
		return d.Record, &events.DestructionStarted{
			Actor: c.Actor, Approver: d.Approver, Decision: trace, Destruction: id,
			Ground: d.Ground, Versions: s.Record(d.Record).Versions,
		}, nil
	}))
	if err != nil {
		return nil, err
	}
	e, ok := started.Event.Data.(*events.DestructionStarted)
	if !ok || started.Event.Subject != d.Record || e.Approver != d.Approver || e.Ground != d.Ground {
		return nil, ErrKeyReused
	}
	// From here on nobody may stop it, whether the caller waits or not.
	ctx = context.WithoutCancel(ctx)
	return l.completeDestruction(ctx, d.Record, e.Destruction, Command{Correlation: c.Correlation})
}

// completeDestruction destroys the keys of a record whose closing is durable,
// and says so. It may be called again until it succeeds.
func (l *Ledger) completeDestruction(ctx context.Context, record, destruction events.ID, c Command) (*Result, error) {
	keys, err := l.vault.Destroy(ctx, record)
	if err != nil {
		return nil, fmt.Errorf("destroying the record's keys; it is completed at the next start: %w", err)
	}
	var versions uint32
	l.view(func(s *life.State) { versions = s.Record(record).Versions })
	if uint32(keys) < versions {
		return nil, fmt.Errorf("the vault destroyed %d keys of a record with %d versions, so others may be elsewhere: %w", keys, versions, ErrNoVault)
	}
	return l.perform(ctx, c, &proposal{
		id: l.keys.completionID(destruction),
		decide: func(*life.State, moment) (events.ID, events.Data, error) {
			return record, &events.RecordDestroyed{
				Custody: events.CustodyFile, Destruction: destruction,
				Keys: uint32(keys), Method: events.MethodCryptographicErase,
			}, nil
		},
	})
}
