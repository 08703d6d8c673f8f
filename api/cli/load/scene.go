package load

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/ledger"
	"github.com/medledger/medledger/verifier/statement"
)

// Department is where all records of the loads are originated, by name: whoever
// enters a scene later belongs to it too, and so may read them.
const Department = "load"

// System is who gives the identifiers of the loads' patients.
const System = "urn:medledger:load"

// Scene is an open ledger with the people who use it, and the patients and records
// that they know of. Enter makes one. Its methods may be called from many goroutines
// at once, except Survey.
type Scene struct {
	*ledger.Ledger

	// Administrator founded the ledger, for Organisation.
	Administrator, Organisation events.ID
	// Clinician, Clerk and Visitor work for Organisation, the clinician in the
	// department that originates all records, the visitor, a nurse, in none. The
	// recipient is of another organisation.
	Clinician, Clerk, Visitor, Recipient events.ID

	mu       sync.RWMutex
	records  []events.ID // not destroyed, as far as this process knows
	patients []events.ID // neither erased nor merged, as far as this process knows
}

// Enter registers the people of a scene in a ledger. No patient and no record is
// known yet. The caller closes the ledger.
func Enter(ctx context.Context, l *ledger.Ledger) (*Scene, error) {
	founding, err := l.Founding(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading who founded the ledger: %w", err)
	}
	if founding == nil {
		return nil, ledger.ErrEmpty
	}
	s := &Scene{Ledger: l, Administrator: founding.Administrator, Organisation: founding.Organisation}
	department, err := l.Department(ctx, s.Organisation, Department)
	if err != nil {
		return nil, fmt.Errorf("naming a department: %w", err)
	}
	for _, person := range []struct {
		ledger.Registration
		id *events.ID
	}{
		{ledger.Registration{Role: events.RoleClinician, Department: department}, &s.Clinician},
		{ledger.Registration{Role: events.RoleClerk}, &s.Clerk},
		{ledger.Registration{Role: events.RoleNurse}, &s.Visitor},
		{ledger.Registration{Role: events.RoleRecipient, Organisation: events.MustNewID()}, &s.Recipient},
	} {
		r, err := s.Register(ctx, ledger.Command{Actor: s.Administrator}, person.Registration)
		if err != nil {
			return nil, fmt.Errorf("registering a %s: %w", person.Role, err)
		}
		*person.id = r.Event.Subject
	}
	return s, nil
}

// Survey brings the known patients and records up to date with the events from
// index from on: those that occur in them are added, those destroyed, erased or
// merged into others go. Nobody else uses the scene meanwhile.
func (s *Scene) Survey(ctx context.Context, from uint64) error {
	seen, gone := make(map[events.ID]bool), make(map[events.ID]bool)
	for _, id := range slices.Concat(s.records, s.patients) {
		seen[id] = true
	}
	meet := func(list *[]events.ID, id events.ID) {
		if !seen[id] {
			seen[id] = true
			*list = append(*list, id)
		}
	}
	for size := s.Size(); from < size; {
		leaves, err := s.Log().Leaves(ctx, from, 4096)
		if err != nil {
			return fmt.Errorf("looking for records: %w", err)
		}
		for i, leaf := range leaves {
			parsed, err := statement.Parse(leaf)
			if err != nil {
				return fmt.Errorf("looking for records: event %d: %w", from+uint64(i), err)
			}
			switch subject := parsed.Event.Subject; parsed.Event.Data.(type) {
			case *events.DestructionStarted, *events.PatientErased, *events.PatientMerged:
				gone[subject] = true
			case *events.RecordOriginated, *events.RecordAccessed, *events.RecordAmended:
				meet(&s.records, subject)
			case *events.PatientRegistered:
				meet(&s.patients, subject)
			}
		}
		from += uint64(len(leaves))
	}
	isGone := func(id events.ID) bool { return gone[id] }
	s.records, s.patients = slices.DeleteFunc(s.records, isGone), slices.DeleteFunc(s.patients, isGone)
	return nil
}

// Size is how many events the log has.
func (s *Scene) Size() uint64 { return s.Log().Published().Checkpoint.Size }

// Known is how many records are known.
func (s *Scene) Known() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.records)
}

// Pick returns a known record at random, each with the same probability. There
// must be one.
func (s *Scene) Pick(w *Worker) events.ID { return s.pick(w, &s.records) }

// PickPatient returns a known patient at random, likewise.
func (s *Scene) PickPatient(w *Worker) events.ID { return s.pick(w, &s.patients) }

func (s *Scene) pick(w *Worker, list *[]events.ID) events.ID {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return (*list)[w.IntN(len(*list))]
}

// Take removes a record at random from those known, so that it can be destroyed.
// There must be one.
func (s *Scene) Take(w *Worker) events.ID {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, last := w.IntN(len(s.records)), len(s.records)-1
	record := s.records[i]
	s.records[i] = s.records[last]
	s.records = s.records[:last]
	return record
}

// Add makes records known.
func (s *Scene) Add(records ...events.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.records = append(s.records, records...)
}

// AddPatient makes a patient known.
func (s *Scene) AddPatient(patient events.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.patients = append(s.patients, patient)
}

// Replace makes a patient known in place of another, who may be gone already.
func (s *Scene) Replace(old, patient events.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(s.patients, old); i >= 0 {
		s.patients[i] = patient
	}
}

// Records returns the known records, Patients the known patients.
func (s *Scene) Records() []events.ID {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.Clone(s.records)
}

// Patients returns the known patients.
func (s *Scene) Patients() []events.ID {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.Clone(s.patients)
}

// NewPatient registers a patient under an identifier that nobody has.
func (s *Scene) NewPatient(ctx context.Context) (events.ID, error) {
	r, err := s.RegisterPatient(ctx, ledger.Command{Actor: s.Clerk}, identifiers(events.MustNewID().String()))
	if err != nil {
		return events.ID{}, err
	}
	s.AddPatient(r.Event.Subject)
	return r.Event.Subject, nil
}

func identifiers(value string) []ledger.Identifier {
	return []ledger.Identifier{{System: System, Value: value}}
}

// Origination is that of every record that the loads make.
func Origination(patient events.ID) ledger.Origination {
	return ledger.Origination{
		Patient: patient, Kind: events.KindChart, Confidentiality: events.Normal, ContentType: "application/fhir+json",
	}
}
