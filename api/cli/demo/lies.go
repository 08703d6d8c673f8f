package demo

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/verifier/state"
)

// insider is what somebody does who has all keys, those of before the last change
// too. What he changed is signed anew.
type insider func(s *story, f *forgery, keys *stolenKeys) error

// with gives an insider the keys.
func (s *story) with(do insider) func(*forgery) error {
	return func(f *forgery) error {
		keys, err := steal(s.copied.Secrets, s.at.Secrets)
		if err != nil {
			return err
		}
		if err := do(s, f, keys); err != nil {
			return err
		}
		if err := f.sign(keys.log, keys.state); err != nil {
			return err
		}
		return f.put()
	}
}

// curious reports whether an event is the other doctor's attempt at the first record.
func (s *story) curious(e events.Event) bool {
	d, ok := e.Data.(*events.AccessRefused)
	return ok && d.Actor == s.cast.colleague.id && e.Subject == s.first.id
}

// hide makes a log in which the other doctor never tried to read the first record:
// every later event moves up by one place, and is signed anew for it.
func hide(s *story, f *forgery, keys *stolenKeys) error {
	hidden, err := f.first(s.curious)
	if err != nil {
		return err
	}
	f.leaves = slices.Delete(f.leaves, hidden, hidden+1)
	f.events = slices.Delete(f.events, hidden, hidden+1)
	f.kids = slices.Delete(f.kids, hidden, hidden+1)
	for i := hidden; i < len(f.events); i++ {
		e := f.events[i]
		moveTo(e.Data, uint64(i))
		if f.leaves[i].Statement, err = keys.again(f.kids[i], e); err != nil {
			return fmt.Errorf("forging event %d: %w", i, err)
		}
	}
	for i := range f.states {
		if f.states[i].Size > uint64(hidden) {
			f.states[i].Size--
		}
	}
	f.states = slices.CompactFunc(f.states, func(a, b state.Leaf) bool { return a.Size == b.Size })
	return f.recount(truly)
}

// moveTo changes what an event says of its own place.
func moveTo(data events.Data, index uint64) {
	if d, ok := data.(*events.LedgerRestored); ok {
		d.Size = index
	}
	if d := reflect.ValueOf(data).Elem().FieldByName("Decision"); d.IsValid() {
		d.FieldByName("Position").SetUint(index)
	}
}

// leaveOut makes a map, from which all bundles come, that does not count the other
// doctor's attempt. The log stays as it is.
func leaveOut(s *story, f *forgery, _ *stolenKeys) error {
	if _, err := f.first(s.curious); err != nil {
		return err
	}
	return f.recount(func(e events.Event) state.Effect {
		if s.curious(e) {
			return state.None
		}
		return truly(e)
	})
}

// alive counts the destruction of the first record as any event.
func (s *story) alive(e events.Event) state.Effect {
	if effect := truly(e); e.Subject != s.first.id || effect != state.Starts && effect != state.Destroys {
		return effect
	}
	return state.Any
}

// forget makes a map in which the first record was never destroyed.
func forget(s *story, f *forgery, _ *stolenKeys) error { return f.recount(s.alive) }

// revive makes a map in which the first record, long destroyed, lives again at the
// end.
func revive(s *story, f *forgery, _ *stolenKeys) error {
	honest := slices.Clone(f.states)
	if err := f.recount(s.alive); err != nil {
		return err
	}
	copy(f.states, honest[:len(honest)-1])
	return nil
}

// mistime gives the last checkpoint at which the map had changed the root of the map
// of the one before.
func mistime(_ *story, f *forgery, _ *stolenKeys) error {
	for i := len(f.states) - 1; i > 0; i-- {
		if before := f.states[i-1].Map; f.states[i].Map != before {
			f.states[i].Map = before
			return nil
		}
	}
	return errNothingToAttack
}

// shrink makes a state log with every second leaf.
func shrink(_ *story, f *forgery, _ *stolenKeys) error {
	var kept []state.Leaf
	for i, leaf := range f.states {
		if i%2 == (len(f.states)-1)%2 { // the last has to stay
			kept = append(kept, leaf)
		}
	}
	f.states = kept
	return nil
}

// lose removes the state log.
func (f *forgery) lose() error {
	if err := os.RemoveAll(filepath.Join(f.dir, "state")); err != nil {
		return fmt.Errorf("removing the state log: %w", err)
	}
	return nil
}
