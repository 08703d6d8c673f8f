package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/medledger/medledger/api/cli/load"
	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/ledger"
)

// A log is made of the size that is to be measured through the ledger's Go
// interface, before anybody serves it: over HTTP a million events would take as
// long as all rows together.

const (
	// eventsPerRecord is how many events a grown log has for each record.
	eventsPerRecord = 5
	// recordsPerPatient is how many records each patient of it has.
	recordsPerPatient = 5
	// growers is how many submitters grow a log: enough to fill every turn.
	growers = 256
	// growReads in ten of what happens to the records of a grown log are readings,
	// the rest amendments.
	growReads = 9
)

// site is a ledger in a folder, with whoever calls it.
type site struct {
	folder string
	setup  load.Setup

	size       uint64 // events, when it was grown
	statements uint64 // bytes of all statements
	grown      time.Duration
}

// lasts is for how long the tokens of a run are good.
const lasts = 24 * time.Hour

// newSite makes a ledger in a folder that is not there yet, and grows it to so many
// events.
func (p plan) newSite(ctx context.Context, folder string, size int) (_ *site, err error) {
	config := ledger.Config{Dir: folder, Logger: p.logger}
	if _, err := ledger.Create(ctx, config, origin); err != nil {
		return nil, err
	}
	l, err := ledger.Open(ctx, config)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	s, err := load.Enter(ctx, l)
	if err != nil {
		return nil, err
	}
	start := time.Now()
	if err := grow(ctx, s, size); err != nil {
		return nil, err
	}
	t := &site{folder: folder, grown: time.Since(start), setup: load.Setup{Patients: s.Patients(), Records: s.Records()}}
	if err := t.logIn(ctx, s); err != nil {
		return nil, err
	}
	t.size = s.Size()
	return t, t.weigh(ctx, s)
}

// grow adds patients and records until there is one record for every five of the
// events that there are to be, and then reads and amends records until there are
// that many events.
func grow(ctx context.Context, s *load.Scene, size int) error {
	records := size / eventsPerRecord
	_, err := load.Measure(ctx, seed, growers, load.Times(records/recordsPerPatient), func(ctx context.Context, _ *load.Worker) error {
		_, err := s.NewPatient(ctx)
		return err
	})
	if err != nil {
		return fmt.Errorf("registering patients: %w", err)
	}
	_, err = load.Measure(ctx, seed+1, growers, load.Times(records), func(ctx context.Context, w *load.Worker) error {
		r, err := s.Originate(ctx, ledger.Command{Actor: s.Clinician}, load.Origination(s.PickPatient(w)), bytes.NewReader(w.Fresh()))
		if err == nil {
			s.Add(r.Event.Subject)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("making records: %w", err)
	}
	missing := size - int(s.Size())
	if missing <= 0 {
		return nil
	}
	_, err = load.Measure(ctx, seed+2, growers, load.Times(missing), func(ctx context.Context, w *load.Worker) error {
		if w.IntN(10) < growReads {
			return read(ctx, s, w)
		}
		_, err := s.Amend(ctx, ledger.Command{Actor: s.Clinician}, ledger.Amendment{Record: s.Pick(w)}, bytes.NewReader(w.Fresh()))
		if errors.Is(err, ledger.ErrConflict) { // another worker amends the same record
			return read(ctx, s, w)
		}
		return err
	})
	return err
}

func read(ctx context.Context, s *load.Scene, w *load.Worker) error {
	r, err := s.Access(ctx, ledger.Command{Actor: s.Clinician}, ledger.Reading{Record: s.Pick(w), Purpose: events.PurposeTreatment})
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, r)
	return errors.Join(err, r.Close())
}

// logIn gives those who will call over HTTP their tokens.
func (t *site) logIn(ctx context.Context, s *load.Scene) error {
	for to, who := range map[*string]events.ID{
		&t.setup.Clinician: s.Clinician, &t.setup.Clerk: s.Clerk, &t.setup.Administrator: s.Administrator,
	} {
		_, secret, err := s.IssueToken(ctx, ledger.Command{Actor: s.Administrator}, who, events.At(time.Now().Add(lasts)))
		if err != nil {
			return fmt.Errorf("issuing a token: %w", err)
		}
		*to = secret
	}
	vkey, err := os.ReadFile(ledger.FolderAt(t.folder).VerifierKey())
	t.setup.VerifierKey = string(vkey)
	return err
}

// weigh adds up the statements of the log.
func (t *site) weigh(ctx context.Context, s *load.Scene) error {
	for i := uint64(0); i < t.size; {
		leaves, err := s.Log().Leaves(ctx, i, 4096)
		if err != nil {
			return err
		}
		for _, leaf := range leaves {
			t.statements += uint64(len(leaf))
		}
		i += uint64(len(leaves))
	}
	return nil
}
