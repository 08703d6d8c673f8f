package records_test

import (
	"slices"
	"testing"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/projections/records"
	"github.com/medledger/medledger/verifier/life"
)

func id(b byte) events.ID { return events.ID{0: b, 15: 1} }

// state is one with a patient 1 who has the records 10 to 10+n-1, filed in no
// order, and a patient 2 who was merged into 1 and has the record 9.
func state(n int) *life.State {
	s := life.NewState()
	s.RestorePatient(id(1), life.Patient{Merged: []events.ID{id(2)}})
	s.RestorePatient(id(2), life.Patient{Into: id(1)})
	s.RestorePatient(id(3), life.Patient{})
	for i := range n {
		i := (i + n/2) % n
		r := life.Record{Patient: id(1), Kind: events.KindChart, Originated: events.Timestamp(100 + i), Shares: []life.Share{{ID: id(200)}}}
		if i%3 == 0 {
			r.Kind = events.KindSurgery
		}
		s.RestoreRecord(id(byte(10+i)), r)
	}
	s.RestoreRecord(id(9), life.Record{Patient: id(2), Kind: events.KindBundle, Originated: 50})
	return s
}

func all(*life.Record) bool { return true }

func ids(p records.Page) (ids []byte) {
	for _, e := range p.Entries {
		ids = append(ids, e.ID[0])
	}
	return ids
}

func TestList(t *testing.T) {
	s := state(7)
	for name, test := range map[string]struct {
		patient events.ID
		filter  records.Filter
		may     func(*life.Record) bool
		want    []byte
		more    bool
	}{
		"everything":              {id(1), records.Filter{}, all, []byte{9, 10, 11, 12, 13, 14, 15, 16}, false},
		"under the old id":        {id(2), records.Filter{}, all, []byte{9, 10, 11, 12, 13, 14, 15, 16}, false},
		"a patient without any":   {id(3), records.Filter{}, all, nil, false},
		"nobody":                  {id(4), records.Filter{}, all, nil, false},
		"of a kind":               {id(1), records.Filter{Kind: events.KindSurgery}, all, []byte{10, 13, 16}, false},
		"from, with":              {id(1), records.Filter{From: 103}, all, []byte{13, 14, 15, 16}, false},
		"to, without":             {id(1), records.Filter{To: 103}, all, []byte{9, 10, 11, 12}, false},
		"an empty time":           {id(1), records.Filter{From: 103, To: 103}, all, nil, false},
		"the first page":          {id(1), records.Filter{Limit: 3}, all, []byte{9, 10, 11}, true},
		"the next page":           {id(1), records.Filter{Limit: 3, After: id(11)}, all, []byte{12, 13, 14}, true},
		"the last page":           {id(1), records.Filter{Limit: 3, After: id(13)}, all, []byte{14, 15, 16}, false},
		"after the last":          {id(1), records.Filter{After: id(16)}, all, nil, false},
		"after what is not one":   {id(1), records.Filter{After: events.ID{0: 14}}, all, []byte{14, 15, 16}, false},
		"the wanted, page-wise":   {id(1), records.Filter{Kind: events.KindSurgery, Limit: 2}, all, []byte{10, 13}, true},
		"a page that fits":        {id(1), records.Filter{Kind: events.KindSurgery, Limit: 3}, all, []byte{10, 13, 16}, false},
		"what may be listed":      {id(1), records.Filter{Limit: 1}, func(r *life.Record) bool { return r.Kind == events.KindBundle }, []byte{9}, false},
		"nothing may be listed":   {id(1), records.Filter{}, func(*life.Record) bool { return false }, nil, false},
		"a limit that makes none": {id(1), records.Filter{Limit: -1}, all, []byte{9, 10, 11, 12, 13, 14, 15, 16}, false},
	} {
		page := records.List(s, test.patient, test.filter, test.may)
		if got := ids(page); !slices.Equal(got, test.want) || page.More != test.more {
			t.Errorf("%s: %v, more: %v; want %v, %v", name, got, page.More, test.want, test.more)
		}
	}
}

// TestLimits: no page is longer than the longest, whatever is asked for.
func TestLimits(t *testing.T) {
	s := life.NewState()
	s.RestorePatient(id(1), life.Patient{})
	for i := range records.MaxLimit + 1 {
		s.RestoreRecord(events.ID{byte(i >> 8), byte(i), 1}, life.Record{Patient: id(1)})
	}
	for limit, want := range map[int]int{0: records.DefaultLimit, 1: 1, records.MaxLimit: records.MaxLimit, 1 << 40: records.MaxLimit} {
		if page := records.List(s, id(1), records.Filter{Limit: limit}, all); len(page.Entries) != want || !page.More {
			t.Errorf("a limit of %d: %d records", limit, len(page.Entries))
		}
	}
}

// TestEntriesAreCopies: what is done to a page is not done to the state.
func TestEntriesAreCopies(t *testing.T) {
	s := state(3)
	page := records.List(s, id(1), records.Filter{After: id(9)}, all)
	page.Entries[0].Shares[0].Ended = true
	page.Entries[0].Kind = "changed"
	if r := s.Record(page.Entries[0].ID); r.Shares[0].Ended || r.Kind == "changed" {
		t.Error("a page shares its entries with the state")
	}
}
