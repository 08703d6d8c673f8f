package backup

import (
	"context"
	"fmt"
	"time"
)

// Status says what could be restored, and what that could bring back.
type Status struct {
	Time      time.Time `json:"time"`
	Size      uint64    `json:"size"`      // of the log, now
	Destroyed uint64    `json:"destroyed"` // destructions so far
	// Last is the last backup that was taken; nil if there is none.
	Last *Run `json:"last"`
	// Data is what is known of the data side; nil if its medium is not there.
	Data   *DataStatus   `json:"data"`
	Epochs []EpochStatus `json:"epochs"`
	// Overdue says what should have happened and did not.
	Overdue []string `json:"overdue"`
}

// DataStatus says what a data side has.
type DataStatus struct {
	Newest uint64 `json:"newest"` // increment
	Base   uint64 `json:"base"`   // the first one of its chain
	Size   uint64 `json:"size"`   // of the log in it
	Bytes  int64  `json:"bytes"`  // of the chain
}

// EpochStatus says what an epoch could still bring back.
type EpochStatus struct {
	Epoch
	// Revivable is how many destructions there were since its first snapshot: all of its
	// snapshots, on all media, are under one key, so whoever copied the first one and has
	// the data side could bring them back until Retires; and with a copy of key.age and an
	// identity after that. Of an epoch from before format 2, and of one that was adopted, it
	// is all that there were.
	Revivable uint64 `json:"revivable"`
	// Due says that its day has come and its key is still there.
	Due bool `json:"due"`
}

// tardy is how many times Every may pass before a backup is overdue.
const tardy = 2

// Status looks at a plan's data side, if it names one, and at the epochs. It does not wait
// for a backup that is being taken.
func (b *Backups) Status(ctx context.Context, src Source, p Plan) (*Status, error) {
	p = p.scheduled()
	c := &b.c
	e, err := c.loadEpochs(ctx)
	if err != nil {
		return nil, err
	}
	s := &Status{Time: c.now(), Last: e.Run, Epochs: []EpochStatus{}, Overdue: []string{}}
	if s.Destroyed, err = src.Destroyed(ctx); err != nil {
		return nil, err
	}
	log, _ := src.Logs()
	_, s.Size = log.Newest()
	if at, err := (dataSide{c.FS, p.Data}).position(c); err == nil {
		s.Data = &DataStatus{Newest: at.Number, Base: at.Base, Size: at.Size, Bytes: at.FirstBytes + at.RestBytes}
	}
	late := s.Time.Add(-tardy * p.Every)
	if e.Run == nil || e.Run.Time.Before(late) {
		s.Overdue = append(s.Overdue, fmt.Sprintf("no backup in the last %v", tardy*p.Every))
	}
	for _, epoch := range e.Epochs {
		es := EpochStatus{Epoch: epoch, Due: !epoch.Retired && !s.Time.Before(epoch.Retires)}
		if !epoch.Retired {
			es.Revivable = epoch.revivable(s.Destroyed)
		}
		if es.Due {
			s.Overdue = append(s.Overdue, fmt.Sprintf("epoch %d was to be retired on %s", epoch.Number, epoch.Retires.Format(time.DateOnly)))
		}
		s.Epochs = append(s.Epochs, es)
	}
	return s, nil
}

// revivable is how many of the destructions so far came after the first snapshot.
func (e *Epoch) revivable(destroyed uint64) uint64 {
	switch {
	case e.FirstDestroyed != nil:
		return destroyed - min(destroyed, *e.FirstDestroyed)
	case e.Snapshot != nil || e.Adopted: // it is not known when the first one was
		return destroyed
	}
	return 0
}

// Until returns until when what is destroyed now could be brought back by whoever has
// copies of every key side and every epoch's key that there ever were: the day on which
// the last living epoch is retired. It is zero if there is none.
func (s *Status) Until() time.Time {
	var until time.Time
	for _, e := range s.Epochs {
		if !e.Retired && e.Retires.After(until) {
			until = e.Retires
		}
	}
	return until
}
