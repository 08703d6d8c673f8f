// Package records is the projection that records are found in: which records there
// are of a patient. It is kept with the state that commands are decided on
// (life.Patient.Records), so it is as far as that is, and here arranged into pages.
package records

import (
	"bytes"
	"slices"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/verifier/life"
)

// DefaultLimit and MaxLimit are how many records a page has, and at most.
const (
	DefaultLimit = 100
	MaxLimit     = 1000
)

// Filter says which records are wanted.
type Filter struct {
	Kind     events.Kind      // "" for all kinds
	From, To events.Timestamp // originated at From or later, before To; zero for no bound
	After    events.ID        // the last record of the page before; zero for the first page
	Limit    int              // zero for DefaultLimit
}

// Entry is a record that was found.
type Entry struct {
	ID events.ID
	life.Record
}

// Page is some of the records that were found, oldest first.
type Page struct {
	Entries []Entry
	More    bool // there are others after the last
}

// List returns the records of a patient, after all merges, that pass the filter and
// may be listed. Record ids are ordered by time, so that pages do not shift while
// records are added.
func List(s *life.State, patient events.ID, f Filter, may func(*life.Record) bool) Page {
	_, p := s.Person(patient)
	if p == nil {
		return Page{}
	}
	limit := f.Limit
	if limit <= 0 {
		limit = DefaultLimit
	}
	limit = min(limit, MaxLimit)
	ids := slices.Clone(p.Records)
	slices.SortFunc(ids, compare)
	var page Page
	for _, id := range ids {
		r := s.Record(id)
		if compare(id, f.After) <= 0 || !f.wants(r) || !may(r) {
			continue
		}
		if len(page.Entries) == limit {
			page.More = true
			break
		}
		entry := Entry{id, *r}
		entry.Shares = slices.Clone(r.Shares)
		page.Entries = append(page.Entries, entry)
	}
	return page
}

func compare(a, b events.ID) int { return bytes.Compare(a[:], b[:]) }

func (f Filter) wants(r *life.Record) bool {
	return (f.Kind == "" || r.Kind == f.Kind) && (f.From == 0 || r.Originated >= f.From) && (f.To == 0 || r.Originated < f.To)
}
