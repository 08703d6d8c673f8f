package events

// The events of this file say that somebody looked at what is not a content:
// finding is an access too.

// PatientQueried says that somebody found a patient, or asked what there is
// about one. Its subject is the patient. It is durable before the answer.
type PatientQueried struct {
	// Actor asked.
	Actor ID `json:"actor"`
	// Decision allowed it.
	Decision Decision `json:"decision"`
	// Purpose is what for.
	Purpose Purpose `json:"purpose"`
	// Query is what was asked.
	Query Query `json:"query"`
}

// HistoryRead says that somebody read the events about a record, which is their
// subject.
type HistoryRead struct {
	// Actor read them.
	Actor ID `json:"actor"`
	// Decision allowed it.
	Decision Decision `json:"decision"`
}

// LogRead says that somebody began to read the statements of the log. Its
// subject is the ledger.
type LogRead struct {
	// Actor read it.
	Actor ID `json:"actor"`
	// Decision allowed it.
	Decision Decision `json:"decision"`
}

// DeliveryFailed says that what an earlier event released did not reach whom it
// was released to, or not all of it. Its subject is the record. A release without
// such an event was handed over to the network whole.
type DeliveryFailed struct {
	// Actor is whom it was released to.
	Actor ID `json:"actor"`
	// Reason is why.
	Reason DeliveryFailure `json:"reason"`
	// Release is the event that released it.
	Release ID `json:"release"`
}

// EventType implements Data.
func (*PatientQueried) EventType() Type { return TypePatientQueried }

// Check implements Data.
func (d *PatientQueried) Check() error {
	switch {
	case d.Actor.IsZero():
		return invalid("query without an actor")
	case !d.Purpose.Valid():
		return invalid("unknown purpose of use")
	case !d.Query.Valid():
		return invalid("unknown query")
	}
	return d.Decision.check()
}

// EventType implements Data.
func (*HistoryRead) EventType() Type { return TypeHistoryRead }

// Check implements Data.
func (d *HistoryRead) Check() error {
	if d.Actor.IsZero() {
		return invalid("history read without an actor")
	}
	return d.Decision.check()
}

// EventType implements Data.
func (*LogRead) EventType() Type { return TypeLogRead }

// Check implements Data.
func (d *LogRead) Check() error {
	if d.Actor.IsZero() {
		return invalid("log read without an actor")
	}
	return d.Decision.check()
}

// EventType implements Data.
func (*DeliveryFailed) EventType() Type { return TypeDeliveryFailed }

// Check implements Data.
func (d *DeliveryFailed) Check() error {
	if d.Actor.IsZero() || d.Release.IsZero() {
		return invalid("failed delivery without an actor or a release")
	}
	if !d.Reason.Valid() {
		return invalid("unknown reason of a failed delivery")
	}
	return nil
}
