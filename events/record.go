package events

// The events of this file have a record as their subject, except a refusal
// about a patient, or about something that does not exist.

// RecordOriginated creates a record with its first version.
type RecordOriginated struct {
	// Actor created it.
	Actor ID `json:"actor"`
	// Commitment is the salted commitment to the content (verifier/commitment);
	// salt and content are in the vault.
	Commitment Digest `json:"commitment"`
	// Confidentiality is how sensitive the record is.
	Confidentiality Confidentiality `json:"confidentiality"`
	// Decision allowed it.
	Decision Decision `json:"decision"`
	// Department is where it was created; zero if in none.
	Department ID `json:"department,omitzero"`
	// Kind is the sort of document.
	Kind Kind `json:"kind"`
	// Organisation keeps the record.
	Organisation ID `json:"organisation"`
	// Patient is whom it is about.
	Patient ID `json:"patient"`
	// Size is the content's length in bytes.
	Size int64 `json:"size"`
}

// RecordAmended adds a version to a record; the earlier ones stay.
type RecordAmended struct {
	// Actor amended it.
	Actor ID `json:"actor"`
	// Commitment is the salted commitment to the new version's content.
	Commitment Digest `json:"commitment"`
	// Decision allowed it.
	Decision Decision `json:"decision"`
	// Size is the content's length in bytes.
	Size int64 `json:"size"`
	// Version is the new version's number, one more than the last.
	Version uint32 `json:"version"`
}

// RecordAccessed says that the content of one version was released to an actor
// of the organisation, to the patient or to a proxy of theirs. It is durable before
// the first byte is released.
type RecordAccessed struct {
	// Actor read it.
	Actor ID `json:"actor"`
	// Decision allowed it.
	Decision Decision `json:"decision"`
	// Purpose is what for.
	Purpose Purpose `json:"purpose"`
	// Version is what was read.
	Version uint32 `json:"version"`
}

// AccessRefused says that an actor wanted to do something and was not allowed
// to. Its subject is the record or the patient that it was wanted of, or the actor
// if there is no such record or patient: what somebody made up does not enter the
// log.
type AccessRefused struct {
	// Action is what was wanted.
	Action Action `json:"action"`
	// Actor wanted it.
	Actor ID `json:"actor"`
	// Decision refused it; its Rule is the reason.
	Decision Decision `json:"decision"`
	// Purpose is what for, where the action has one.
	Purpose Purpose `json:"purpose,omitzero"`
	// Share is the share it was wanted under; zero if none.
	Share ID `json:"share,omitzero"`
}

// RecordDisclosed shares one version of a record with an outside recipient.
type RecordDisclosed struct {
	// Actor disclosed it.
	Actor ID `json:"actor"`
	// Decision allowed it.
	Decision Decision `json:"decision"`
	// Purpose is what the recipient may use it for.
	Purpose Purpose `json:"purpose"`
	// Recipient is the actor it is shared with.
	Recipient ID `json:"recipient"`
	// Share names the share.
	Share ID `json:"share"`
	// Until is when the share ends: from then on nothing is released under it.
	Until Timestamp `json:"until"`
	// Version is what is shared.
	Version uint32 `json:"version"`
}

// RecordReceived says that a recipient fetched what was shared. It is durable
// before the first byte is released.
type RecordReceived struct {
	// Actor is the recipient.
	Actor ID `json:"actor"`
	// Decision allowed it.
	Decision Decision `json:"decision"`
	// Share is the share it was fetched under.
	Share ID `json:"share"`
	// Version is what was received.
	Version uint32 `json:"version"`
}

// ShareAcknowledged says that a recipient has what was shared.
type ShareAcknowledged struct {
	// Actor is the recipient.
	Actor ID `json:"actor"`
	// Decision allowed it.
	Decision Decision `json:"decision"`
	// Share is the share.
	Share ID `json:"share"`
}

// ShareEnded ends a share before its time.
type ShareEnded struct {
	// Actor ended it.
	Actor ID `json:"actor"`
	// Decision allowed it.
	Decision Decision `json:"decision"`
	// Share is the share.
	Share ID `json:"share"`
}

// EventType implements Data.
func (*RecordOriginated) EventType() Type { return TypeRecordOriginated }

// Check implements Data.
func (d *RecordOriginated) Check() error {
	switch {
	case d.Actor.IsZero() || d.Organisation.IsZero() || d.Patient.IsZero():
		return invalid("record without an actor, an organisation or a patient")
	case !d.Kind.Valid():
		return invalid("unknown kind of record")
	case !d.Confidentiality.Valid():
		return invalid("unknown confidentiality")
	}
	return checkContent(d.Size, d.Decision)
}

// EventType implements Data.
func (*RecordAmended) EventType() Type { return TypeRecordAmended }

// Check implements Data.
func (d *RecordAmended) Check() error {
	if d.Actor.IsZero() {
		return invalid("amendment without an actor")
	}
	if d.Version < 2 {
		return invalid("amendment to version %d, want 2 or more", d.Version)
	}
	return checkContent(d.Size, d.Decision)
}

// EventType implements Data.
func (*RecordAccessed) EventType() Type { return TypeRecordAccessed }

// Check implements Data.
func (d *RecordAccessed) Check() error {
	if d.Actor.IsZero() || d.Version == 0 {
		return invalid("access without an actor or a version")
	}
	if !d.Purpose.Valid() {
		return invalid("unknown purpose of use")
	}
	return d.Decision.check()
}

// EventType implements Data.
func (*AccessRefused) EventType() Type { return TypeAccessRefused }

// Check implements Data.
func (d *AccessRefused) Check() error {
	if d.Actor.IsZero() || !d.Action.Valid() {
		return invalid("refusal without an actor or a known action")
	}
	if d.Purpose != "" && !d.Purpose.Valid() {
		return invalid("unknown purpose of use")
	}
	return d.Decision.check()
}

// EventType implements Data.
func (*RecordDisclosed) EventType() Type { return TypeRecordDisclosed }

// Check implements Data.
func (d *RecordDisclosed) Check() error {
	if d.Actor.IsZero() || d.Recipient.IsZero() || d.Share.IsZero() || d.Version == 0 {
		return invalid("disclosure without an actor, a recipient, a share or a version")
	}
	if !d.Purpose.Valid() {
		return invalid("unknown purpose of use")
	}
	if err := d.Until.check("until"); err != nil {
		return err
	}
	return d.Decision.check()
}

// EventType implements Data.
func (*RecordReceived) EventType() Type { return TypeRecordReceived }

// Check implements Data.
func (d *RecordReceived) Check() error {
	if d.Actor.IsZero() || d.Share.IsZero() || d.Version == 0 {
		return invalid("reception without an actor, a share or a version")
	}
	return d.Decision.check()
}

// EventType implements Data.
func (*ShareAcknowledged) EventType() Type { return TypeShareAcknowledged }

// Check implements Data.
func (d *ShareAcknowledged) Check() error {
	if d.Actor.IsZero() || d.Share.IsZero() {
		return invalid("acknowledgement without an actor or a share")
	}
	return d.Decision.check()
}

// EventType implements Data.
func (*ShareEnded) EventType() Type { return TypeShareEnded }

// Check implements Data.
func (d *ShareEnded) Check() error {
	if d.Actor.IsZero() || d.Share.IsZero() {
		return invalid("end of a share without an actor or a share")
	}
	return d.Decision.check()
}

// checkContent bounds what originating and amending have in common.
func checkContent(size int64, d Decision) error {
	if size < 0 || size > maxSafeInteger {
		return invalid("content of %d bytes", size)
	}
	return d.check()
}

// maxSafeInteger is the largest integer that every JSON reader reads exactly
// (RFC 8785 section 3.2.2.3, RFC 7493 section 2.2).
const maxSafeInteger = 1<<53 - 1
