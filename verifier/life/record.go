package life

import (
	"github.com/medledger/medledger/events"
)

// The events about a record, but for its shares and its destruction.

// live handles the events about an existing record. All of them need it Active,
// except RecordDestroyed, which needs it Destroying.
func (s *State) live(index uint64, e events.Event) *violation {
	r := s.records[e.Subject]
	if r == nil {
		return broken("subject", "there is no such record")
	}
	want := Active
	if _, completes := e.Data.(*events.RecordDestroyed); completes {
		want = Destroying
	}
	if r.Phase != want {
		return broken("state", "the record is %s", r.Phase)
	}
	switch d := e.Data.(type) {
	case *events.RecordAmended:
		return s.amend(index, r, d)
	case *events.RecordAccessed:
		return firstOf(s.registered(d.Actor), s.decided(index, d.Decision), r.has(d.Version))
	case *events.RecordRefiled:
		return s.refile(index, e.Subject, r, d)
	case *events.RecordDisclosed:
		return s.disclose(index, e, r, d)
	case *events.RecordReceived:
		return s.receive(index, e, r, d)
	case *events.ShareAcknowledged:
		return s.acknowledge(index, r, d)
	case *events.ShareEnded:
		return s.endShare(index, r, d)
	case *events.DestructionRequested:
		return s.requestDestruction(index, e.Subject, r, d)
	case *events.DestructionStarted:
		return s.startDestruction(index, e.Subject, r, d)
	case *events.RecordDestroyed:
		return s.destroyed(r, d)
	}
	return broken("subject", "no rule knows events of this type")
}

func (s *State) originate(index uint64, e events.Event, d *events.RecordOriginated) *violation {
	if v := firstOf(s.fresh(e.Subject), s.registered(d.Actor), s.decided(index, d.Decision)); v != nil {
		return v
	}
	if d.Decision.Rules != Rules1 {
		if v := s.filed(d.Patient); v != nil {
			return v
		}
	}
	r := &Record{
		Patient: d.Patient, Organisation: d.Organisation, Department: d.Department,
		Kind: d.Kind.Own(), Confidentiality: d.Confidentiality.Own(), Versions: 1, Originated: e.Time,
	}
	s.records[e.Subject] = r
	s.file(e.Subject, r)
	return nil
}

// lookedAt handles what may be said of a record whatever its state.
func (s *State) lookedAt(index uint64, e events.Event) *violation {
	if s.records[e.Subject] == nil {
		return broken("subject", "there is no such record")
	}
	switch d := e.Data.(type) {
	case *events.HistoryRead:
		return firstOf(s.registered(d.Actor), s.decided(index, d.Decision))
	case *events.DeliveryFailed:
		return s.registered(d.Actor)
	}
	return nil
}

func (s *State) amend(index uint64, r *Record, d *events.RecordAmended) *violation {
	if v := firstOf(s.registered(d.Actor), s.decided(index, d.Decision)); v != nil {
		return v
	}
	if d.Version != r.Versions+1 {
		return broken("version", "it makes version %d of a record with %d", d.Version, r.Versions)
	}
	r.Versions++
	return nil
}

func (s *State) refile(index uint64, id events.ID, r *Record, d *events.RecordRefiled) *violation {
	if v := firstOf(s.registered(d.Actor), s.decided(index, d.Decision), s.filed(d.Patient)); v != nil {
		return v
	}
	if d.From != r.Patient || s.SamePerson(d.From, d.Patient) {
		return broken("patient", "it moves a record from a patient who does not have it, or to the same person")
	}
	s.unfile(id, r)
	r.Patient = d.Patient
	s.file(id, r)
	// Whoever shared it shared another's record: what is out there ends here.
	for i := range r.Shares {
		r.Shares[i].Ended = true
	}
	// Whoever asked for its destruction asked for that of another's record.
	delete(s.destructions, r.Destruction)
	r.Destruction, r.Requester, r.Ground = events.ID{}, events.ID{}, ""
	return nil
}

func (r *Record) has(version uint32) *violation {
	if version == 0 || version > r.Versions {
		return broken("version", "it names version %d of a record with %d", version, r.Versions)
	}
	return nil
}
