package events

// The events of this file have a patient as their subject, except RecordRefiled.
// Who a patient is outside the ledger is in the vault.

// PatientRegistered makes a patient known under a random id.
type PatientRegistered struct {
	// Actor registered the patient.
	Actor ID `json:"actor"`
	// Commitment is the salted commitment to the patient's external identifiers
	// as they were registered; salt and identifiers are in the vault.
	Commitment Digest `json:"commitment"`
	// Decision allowed it.
	Decision Decision `json:"decision"`
	// Organisation is where the patient was registered.
	Organisation ID `json:"organisation"`
}

// PatientMerged says that its subject and another patient are one person. The
// subject's records, relationships, proxies and consents count as the other's
// from then on; nothing is rewritten.
type PatientMerged struct {
	// Actor merged them.
	Actor ID `json:"actor"`
	// Decision allowed it.
	Decision Decision `json:"decision"`
	// Into is the patient that stays.
	Into ID `json:"into"`
}

// PatientErased says that the last record of a patient was destroyed and that
// with it the patient's key died: nobody can tell any more who it was.
type PatientErased struct {
	// Custody and Method are as in RecordDestroyed.
	Custody string `json:"custody"`
	Method  string `json:"method"`
}

// RecordRefiled corrects a record that was filed under the wrong patient. Its
// subject is the record.
type RecordRefiled struct {
	// Actor corrected it.
	Actor ID `json:"actor"`
	// Decision allowed it.
	Decision Decision `json:"decision"`
	// From is the patient that it was filed under.
	From ID `json:"from"`
	// Patient is whom it is about.
	Patient ID `json:"patient"`
}

// EventType implements Data.
func (*PatientRegistered) EventType() Type { return TypePatientRegistered }

// Check implements Data.
func (d *PatientRegistered) Check() error {
	if d.Actor.IsZero() || d.Organisation.IsZero() {
		return invalid("patient registered without an actor or an organisation")
	}
	return d.Decision.check()
}

// EventType implements Data.
func (*PatientMerged) EventType() Type { return TypePatientMerged }

// Check implements Data.
func (d *PatientMerged) Check() error {
	if d.Actor.IsZero() || d.Into.IsZero() {
		return invalid("merge without an actor or a patient that stays")
	}
	return d.Decision.check()
}

// EventType implements Data.
func (*PatientErased) EventType() Type { return TypePatientErased }

// Check implements Data.
func (d *PatientErased) Check() error { return checkErasure(d.Method, d.Custody) }

// EventType implements Data.
func (*RecordRefiled) EventType() Type { return TypeRecordRefiled }

// Check implements Data.
func (d *RecordRefiled) Check() error {
	if d.Actor.IsZero() || d.From.IsZero() || d.Patient.IsZero() || d.From == d.Patient {
		return invalid("refiling without an actor or from a patient to another")
	}
	return d.Decision.check()
}
