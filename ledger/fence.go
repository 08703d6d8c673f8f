package ledger

import (
	"context"
	"sync"
	"time"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/verifier/decision"
	"github.com/medledger/medledger/verifier/life"
)

// A release takes as long as its reader does, and so does a history; the right that
// they rest on may end meanwhile. The fence knows every one that is under way. After
// an event that takes a right away is durable, and before it is answered, each is
// decided again, and those that would be refused now are ended: no further byte is
// read for them. What a chunk before (64 KiB at most; of a history, one event) has
// handed to the network is not taken back. A right may also end by itself, at a time
// that it names: so what goes on is decided again every second of it.
//
// They are entered by the decide stage, in the turn that decides them: so the one
// that ends a right finds all that were decided before it.
type fence struct {
	mu       sync.Mutex
	passages map[*passage]struct{}
}

// passage is a release, or the reading of a history, that is under way.
type passage struct {
	fence   *fence
	request decision.Request
	token   events.ID
	decided time.Time // last; of the goroutine that reads

	mu    sync.Mutex
	ended error
	stop  func() // ends a content's reader; nil before there is one
}

// enterUnderRules decides on something that takes as long as its reader does. The
// caller makes the passage that it returns leave.
func (l *Ledger) enterUnderRules(ctx context.Context, c Command, request decision.Request, event permitted) (*Result, *passage, error) {
	c.IdempotencyKey = ""
	p := &passage{fence: &l.fence, request: request, token: c.Token}
	proposed := underRules(request, func(s *life.State, r decision.Request, d events.Decision) (events.ID, events.Data, error) {
		l.fence.enter(p)
		return event(s, r, d)
	})
	proposed.insists = true // else it might be entered after it has left
	result, err := l.perform(ctx, c, proposed)
	if err != nil {
		l.fence.leave(p)
		return nil, nil, err
	}
	return result, p, nil
}

func (f *fence) enter(p *passage) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.passages == nil {
		f.passages = make(map[*passage]struct{})
	}
	f.passages[p] = struct{}{}
}

func (f *fence) leave(p *passage) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.passages, p)
}

// end stops a passage for a reason. It does not wait for its reader's network.
func (p *passage) end(reason error) {
	p.mu.Lock()
	stop := p.stop
	if p.ended == nil {
		p.ended = reason
	}
	p.mu.Unlock()
	if stop != nil {
		stop()
	}
}

// begin gives a passage the means to stop its reader, and says why it was ended
// if it was.
func (p *passage) begin(stop func()) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stop = stop
	return p.ended
}

func (p *passage) reason() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ended
}

// takesRights reports whether an event may take away a right that a passage rests
// on.
func takesRights(d events.Data) bool {
	switch d.(type) {
	case *events.ConsentWithdrawn, *events.CareClosed, *events.ProxyDismissed, *events.PatientMerged,
		*events.RecordRefiled, *events.ShareEnded, *events.TokenRevoked, *events.DestructionStarted:
		return true
	}
	return false
}

// enforce ends the passages that the events of a turn took the right from.
func (l *Ledger) enforce(t *turn) {
	for _, it := range t.items {
		if takesRights(it.event.Data) {
			l.endUnrightful()
			return
		}
	}
}

func (l *Ledger) endUnrightful() {
	l.fence.mu.Lock()
	passages := make([]*passage, 0, len(l.fence.passages))
	for p := range l.fence.passages {
		passages = append(passages, p)
	}
	l.fence.mu.Unlock()
	var unrightful []*passage
	now := events.At(l.config.Clock())
	l.view(func(s *life.State) {
		for _, p := range passages {
			if !p.rightful(s, now) {
				unrightful = append(unrightful, p)
			}
		}
	})
	for _, p := range unrightful {
		p.end(ErrRightEnded)
	}
}

// rightful decides a passage again.
func (p *passage) rightful(s *life.State, now events.Timestamp) bool {
	r := resolve(s, p.request)
	r.At = max(now, s.Head().Time)
	return decision.Decide(s, r).Permit && (p.token.IsZero() || alive(s, r.Actor, p.token, r.At))
}

// decideAgainEvery is how long a passage goes on without being decided again.
const decideAgainEvery = time.Second

// goOn ends a passage whose right has ended by itself, and returns why a passage
// was ended.
func (l *Ledger) goOn(p *passage) error {
	now := l.config.Clock()
	if since := now.Sub(p.decided); since < 0 || since >= decideAgainEvery {
		var rightful bool
		l.view(func(s *life.State) { rightful = p.rightful(s, events.At(now)) })
		if !rightful {
			p.end(ErrRightEnded)
		}
		p.decided = now
	}
	return p.reason()
}
