package crash

import (
	"fmt"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/verifier/decision"
)

// clinic is what a log says of patients and records, worked out apart from the
// ledger's own code, as far as the mixed load goes: all records are of one
// department, and no consent but that to treatment is withdrawn.
type clinic struct {
	patients map[events.ID]*patient
	records  map[events.ID]*record
	doomed   events.ID // the patient whose erasure must come next; zero if none
}

type patient struct {
	into    events.ID // zero if not merged
	erased  bool
	refuses bool // treatment
}

type record struct {
	patient   events.ID // as it is filed
	closed    bool      // its destruction was started
	destroyed bool      // and completed
}

func newClinic() *clinic {
	return &clinic{patients: make(map[events.ID]*patient), records: make(map[events.ID]*record)}
}

// see takes the next event of the log in. The end of a patient's last record is
// followed by the end of the patient, and nothing comes between.
func (c *clinic) see(e events.Event) error {
	_, erasure := e.Data.(*events.PatientErased)
	if erasure != !c.doomed.IsZero() || erasure && e.Subject != c.doomed {
		return fmt.Errorf("%s of %v, when patient %v is to be erased", e.Type, e.Subject, c.doomed)
	}
	p := c.patients[e.Subject]
	switch d := e.Data.(type) {
	case *events.PatientRegistered:
		c.patients[e.Subject] = new(patient)
	case *events.PatientMerged:
		p.into = d.Into
		into := c.patients[d.Into]
		into.refuses = into.refuses || p.refuses // to withdraw counts, whoever of the two did
	case *events.PatientErased:
		p.erased, c.doomed = true, events.ID{}
	case *events.ConsentWithdrawn:
		p.refuses = true
	case *events.ConsentGranted:
		p.refuses = false
	case *events.RecordOriginated:
		c.records[e.Subject] = &record{patient: d.Patient}
	case *events.RecordRefiled:
		c.records[e.Subject].patient = d.Patient
	case *events.DestructionStarted:
		c.records[e.Subject].closed = true
	case *events.RecordDestroyed:
		c.records[e.Subject].destroyed = true
		if person := c.person(c.records[e.Subject].patient); !c.living(person) {
			c.doomed = person
		}
	}
	return nil
}

// person is who a patient is after all merges.
func (c *clinic) person(patient events.ID) events.ID {
	for !c.patients[patient].into.IsZero() {
		patient = c.patients[patient].into
	}
	return patient
}

// closed is why a record cannot be read by those who treat its patient; "" if it
// can.
func (c *clinic) closed(id events.ID) string {
	switch r := c.records[id]; {
	case c.patients[c.person(r.patient)].refuses:
		return decision.RefusedConsent
	case r.closed:
		return decision.RefusedDestroyed
	}
	return ""
}

// living reports whether a person has a record that is not destroyed.
func (c *clinic) living(person events.ID) bool {
	for _, r := range c.records {
		if !r.destroyed && c.person(r.patient) == person {
			return true
		}
	}
	return false
}
