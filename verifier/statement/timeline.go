package statement

import "fmt"

// Timeline is which keys may sign where in a log, as far as announcements of it are
// known: whoever makes one decides which, and has checked that they are in the log.
// An announcement that was left out shows only by what its keys signed. The zero
// Timeline knows none.
type Timeline struct{ sets []KeySet }

// Announce adds the announcement that stands at the given log index. The first is
// the opening of the ledger; each further one is the next rotation that is known.
// Its errors are those of Parse and of KeySet.Announce.
func (t *Timeline) Announce(raw []byte, index uint64) error {
	s, err := Parse(raw)
	if err != nil {
		return err
	}
	var last KeySet
	if n := len(t.sets); n > 0 {
		last = t.sets[n-1]
	}
	next, err := last.Announce(s, index)
	if err != nil {
		return err
	}
	t.sets = append(t.sets, next)
	return nil
}

// Origin returns the origin of the log, or "" before any announcement.
func (t *Timeline) Origin() string {
	if len(t.sets) == 0 {
		return ""
	}
	return t.sets[0].Origin()
}

// At returns the keys that may sign at a log index: those of the last announcement
// before it, and the opening's own at index 0. Without one its error wraps
// ErrUnknownKey.
func (t *Timeline) At(index uint64) (KeySet, error) {
	for i := len(t.sets) - 1; i >= 0; i-- {
		if a := t.sets[i].announced; a < index || a == 0 {
			return t.sets[i], nil
		}
	}
	return KeySet{}, fmt.Errorf("no keys are announced for index %d: %w", index, ErrUnknownKey)
}
