package life

import (
	"slices"

	"github.com/medledger/medledger/events"
)

// Patient is what the log says of a patient, who is somebody under a random id.
type Patient struct {
	// Organisation is where the patient was registered.
	Organisation events.ID
	// Into is the patient that this one was merged into; zero if none.
	Into events.ID
	// Erased says that nobody can tell any more who it was.
	Erased bool
	// Events is how many events are about the patient.
	Events uint64

	Care     []Care
	Proxies  []Appointment
	Consents []Consent

	// Merged are the patients that were merged into this one, directly or not.
	Merged []events.ID

	// Records are those filed under this patient, in the order in which they
	// were; after a merge those of both.
	Records []events.ID `cbor:"-"`
	// Living is how many of them are not destroyed.
	Living int `cbor:"-"`
}

// Care is a care relationship of a patient.
type Care struct {
	ID         events.ID
	Member     events.ID        // zero if a department cares
	Department events.ID        // zero if one actor cares
	Until      events.Timestamp // zero if it does not end by itself
	Closed     bool
}

// Appointment is that of a proxy.
type Appointment struct {
	ID        events.ID
	Proxy     events.ID
	Scope     []events.ProxyScope
	Until     events.Timestamp // zero if it does not end by itself
	Dismissed bool
}

// Consent is a consent that was granted, or one that was only implied and was
// withdrawn.
type Consent struct {
	ID        events.ID // zero if it was implied
	Purpose   events.Purpose
	Withdrawn bool
}

// CaredForBy reports whether an actor has a care relationship with the patient
// at a moment, in person or through their department.
func (p *Patient) CaredForBy(id events.ID, a Actor, at events.Timestamp) bool {
	return slices.ContainsFunc(p.Care, func(c Care) bool {
		mine := c.Member == id || c.Member.IsZero() && c.Department == a.Department
		return mine && !c.Closed && (c.Until == 0 || at < c.Until)
	})
}

// ActsFor reports whether an actor is a proxy of the patient for something at a
// moment.
func (p *Patient) ActsFor(proxy events.ID, scope events.ProxyScope, at events.Timestamp) bool {
	return slices.ContainsFunc(p.Proxies, func(a Appointment) bool {
		return a.Proxy == proxy && !a.Dismissed && (a.Until == 0 || at < a.Until) && slices.Contains(a.Scope, scope)
	})
}

// Refuses reports whether the patient does not agree to a use: the last word on
// it was a withdrawal.
func (p *Patient) Refuses(purpose events.Purpose) bool {
	refuses := false
	for _, c := range p.Consents {
		if c.Purpose == purpose {
			refuses = c.Withdrawn
		}
	}
	return refuses
}

// Patient returns a patient, or nil. The caller must not change it.
func (s *State) Patient(id events.ID) *Patient { return s.patients[id] }

// Person returns the patient that an id stands for after all merges, and nil if
// there is none.
func (s *State) Person(id events.ID) (events.ID, *Patient) {
	p := s.patients[id]
	for p != nil && !p.Into.IsZero() {
		id, p = p.Into, s.patients[p.Into]
	}
	return id, p
}

// SamePerson reports whether two patients' ids stand for the same person.
func (s *State) SamePerson(a, b events.ID) bool {
	a, p := s.Person(a)
	b, _ = s.Person(b)
	return p != nil && a == b
}

// Patients calls yield for every patient in no particular order, until it returns
// false.
func (s *State) Patients(yield func(events.ID, *Patient) bool) {
	for id, p := range s.patients {
		if !yield(id, p) {
			return
		}
	}
}

// file adds a record to those of its patient. Under rules that knew no
// registration, a patient begins with the first record.
func (s *State) file(id events.ID, r *Record) {
	_, p := s.Person(r.Patient)
	if p == nil {
		p = &Patient{Organisation: r.Organisation}
		s.patients[r.Patient] = p
	}
	p.Records = append(p.Records, id)
	if r.Phase != Destroyed {
		p.Living++
	}
}

// unfile takes a record from those of its patient.
func (s *State) unfile(id events.ID, r *Record) {
	_, p := s.Person(r.Patient)
	if i := slices.Index(p.Records, id); i >= 0 {
		p.Records = slices.Delete(p.Records, i, i+1)
		p.Living--
	}
}

// filed checks that a record can be filed under a patient.
func (s *State) filed(patient events.ID) *violation {
	switch p := s.patients[patient]; {
	case p == nil:
		return broken("patient", "it names a patient who was never registered")
	case p.Erased:
		return broken("patient", "it names a patient who was erased")
	case !p.Into.IsZero():
		return broken("patient", "it names a patient who was merged into another")
	}
	return nil
}

// aboutPatient handles the events whose subject is a patient.
func (s *State) aboutPatient(index uint64, e events.Event) *violation {
	if d, ok := e.Data.(*events.PatientRegistered); ok {
		if v := firstOf(s.fresh(e.Subject), s.registered(d.Actor), s.decided(index, d.Decision)); v != nil {
			return v
		}
		s.patients[e.Subject] = &Patient{Organisation: d.Organisation}
		return nil
	}
	p := s.patients[e.Subject]
	if p == nil {
		return broken("subject", "there is no such patient")
	}
	switch d := e.Data.(type) {
	case *events.PatientQueried:
		return firstOf(s.registered(d.Actor), s.decided(index, d.Decision))
	case *events.PatientErased:
		if p.Living > 0 || len(p.Records) == 0 || p.Erased || !p.Into.IsZero() {
			return broken("patient", "it erases a patient who has %d records, or who is none any more", p.Living)
		}
		p.Erased = true
		return nil
	}
	if v := s.filed(e.Subject); v != nil {
		return v
	}
	switch d := e.Data.(type) {
	case *events.PatientMerged:
		return s.merge(index, e, p, d)
	case *events.CareOpened:
		return s.openCare(index, p, d)
	case *events.CareClosed:
		return s.closeCare(index, p, d)
	case *events.ProxyAppointed:
		return s.appoint(index, p, d)
	case *events.ProxyDismissed:
		return s.dismiss(index, p, d)
	case *events.ConsentGranted:
		return s.consent(index, p, d)
	case *events.ConsentWithdrawn:
		return s.withdraw(index, p, d)
	}
	return broken("subject", "no rule knows events of this type")
}

func (s *State) merge(index uint64, e events.Event, p *Patient, d *events.PatientMerged) *violation {
	if v := firstOf(s.registered(d.Actor), s.decided(index, d.Decision), s.filed(d.Into)); v != nil {
		return v
	}
	if d.Into == e.Subject {
		return broken("patient", "it merges a patient with itself")
	}
	into := s.patients[d.Into]
	// Either may have said no to a use: then the person did.
	refused := func(c Consent) bool { return p.Refuses(c.Purpose) || into.Refuses(c.Purpose) }
	consents := slices.Concat(into.Consents, p.Consents)
	for _, c := range slices.Clone(consents) {
		if refused(c) {
			consents = append(consents, Consent{Purpose: c.Purpose, Withdrawn: true})
		}
	}
	into.Consents = compact(consents)
	into.Care = append(into.Care, p.Care...)
	into.Proxies = append(into.Proxies, p.Proxies...)
	into.Records = append(into.Records, p.Records...)
	into.Living += p.Living
	into.Merged = append(append(into.Merged, p.Merged...), e.Subject)
	p.Into, p.Care, p.Proxies, p.Consents, p.Merged, p.Records, p.Living = d.Into, nil, nil, nil, nil, nil, 0
	return nil
}

// compact drops repetitions of withdrawals that nobody granted before.
func compact(consents []Consent) []Consent {
	return slices.CompactFunc(consents, func(a, b Consent) bool { return a.ID.IsZero() && a == b })
}

func (s *State) openCare(index uint64, p *Patient, d *events.CareOpened) *violation {
	if v := firstOf(s.registered(d.Actor), s.decided(index, d.Decision)); v != nil {
		return v
	}
	if !d.Member.IsZero() {
		if v := s.registered(d.Member); v != nil {
			return v
		}
	}
	if slices.ContainsFunc(p.Care, func(c Care) bool { return c.ID == d.Relationship }) {
		return broken("rights", "there is such a relationship already")
	}
	p.Care = append(p.Care, Care{ID: d.Relationship, Member: d.Member, Department: d.Department, Until: d.Until})
	return nil
}

func (s *State) closeCare(index uint64, p *Patient, d *events.CareClosed) *violation {
	if v := firstOf(s.registered(d.Actor), s.decided(index, d.Decision)); v != nil {
		return v
	}
	i := slices.IndexFunc(p.Care, func(c Care) bool { return c.ID == d.Relationship && !c.Closed })
	if i < 0 {
		return broken("rights", "there is no such relationship, or it was closed before")
	}
	p.Care[i].Closed = true
	return nil
}

func (s *State) appoint(index uint64, p *Patient, d *events.ProxyAppointed) *violation {
	if v := firstOf(s.registered(d.Actor), s.registered(d.Proxy), s.decided(index, d.Decision)); v != nil {
		return v
	}
	if s.actors[d.Proxy].Role != events.RoleProxy {
		return broken("rights", "it appoints an actor who is no proxy")
	}
	if slices.ContainsFunc(p.Proxies, func(a Appointment) bool { return a.ID == d.Appointment }) {
		return broken("rights", "there is such an appointment already")
	}
	p.Proxies = append(p.Proxies, Appointment{ID: d.Appointment, Proxy: d.Proxy, Scope: d.Scope, Until: d.Until})
	return nil
}

func (s *State) dismiss(index uint64, p *Patient, d *events.ProxyDismissed) *violation {
	if v := firstOf(s.registered(d.Actor), s.decided(index, d.Decision)); v != nil {
		return v
	}
	i := slices.IndexFunc(p.Proxies, func(a Appointment) bool { return a.ID == d.Appointment && !a.Dismissed })
	if i < 0 {
		return broken("rights", "there is no such appointment, or it was ended before")
	}
	p.Proxies[i].Dismissed = true
	return nil
}

func (s *State) consent(index uint64, p *Patient, d *events.ConsentGranted) *violation {
	if v := firstOf(s.registered(d.Actor), s.decided(index, d.Decision)); v != nil {
		return v
	}
	if slices.ContainsFunc(p.Consents, func(c Consent) bool { return c.ID == d.Consent }) {
		return broken("rights", "there is such a consent already")
	}
	p.Consents = append(p.Consents, Consent{ID: d.Consent, Purpose: d.Purpose})
	return nil
}

// withdraw moves what is withdrawn to the end: it is the last word.
func (s *State) withdraw(index uint64, p *Patient, d *events.ConsentWithdrawn) *violation {
	if v := firstOf(s.registered(d.Actor), s.decided(index, d.Decision)); v != nil {
		return v
	}
	if !d.Consent.IsZero() {
		i := slices.IndexFunc(p.Consents, func(c Consent) bool {
			return c.ID == d.Consent && c.Purpose == d.Purpose && !c.Withdrawn
		})
		if i < 0 {
			return broken("rights", "there is no such consent, or it was withdrawn before")
		}
		p.Consents = slices.Delete(p.Consents, i, i+1)
	}
	p.Consents = append(p.Consents, Consent{ID: d.Consent, Purpose: d.Purpose, Withdrawn: true})
	return nil
}
