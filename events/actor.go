package events

// ActorRegistered makes somebody known who may act: a person, an outside
// organisation, a device. Its subject is the actor. Who that is outside the
// ledger is not in the log.
type ActorRegistered struct {
	// By is the actor who registered this one; zero for the first
	// administrator, whom nobody registered.
	By ID `json:"by,omitzero"`
	// Decision allowed the registration.
	Decision Decision `json:"decision"`
	// Department is where in the organisation the actor works; zero if nowhere.
	Department ID `json:"department,omitzero"`
	// Organisation is whom the actor belongs to.
	Organisation ID `json:"organisation"`
	// Patient is the patient that a patient's account stands for.
	Patient ID `json:"patient,omitzero"`
	// Role is what the actor is.
	Role Role `json:"role"`
}

// ActorRegisteredV1 is the first version of ActorRegistered, which knew no
// departments and no patients' accounts.
type ActorRegisteredV1 struct {
	// By, Decision, Organisation and Role are as in ActorRegistered.
	By           ID       `json:"by,omitzero"`
	Decision     Decision `json:"decision"`
	Organisation ID       `json:"organisation"`
	Role         Role     `json:"role"`
}

// EventType implements Data.
func (*ActorRegistered) EventType() Type { return TypeActorRegistered }

// Check implements Data.
func (d *ActorRegistered) Check() error {
	if !d.Role.Valid() {
		return invalid("unknown role")
	}
	if d.Organisation.IsZero() {
		return invalid("actor without an organisation")
	}
	if (d.Role == RolePatient) == d.Patient.IsZero() {
		return invalid("a patient's account names its patient, and no other does")
	}
	return d.Decision.check()
}

// EventType implements Data.
func (*ActorRegisteredV1) EventType() Type { return TypeActorRegisteredV1 }

// Check implements Data.
func (d *ActorRegisteredV1) Check() error {
	if !d.Role.Valid() || d.Role == RolePatient {
		return invalid("unknown role, or one that version 1 did not have")
	}
	if d.Organisation.IsZero() {
		return invalid("actor without an organisation")
	}
	return d.Decision.check()
}

func (d *ActorRegisteredV1) upcast() Data {
	return &ActorRegistered{By: d.By, Decision: d.Decision, Organisation: d.Organisation, Role: d.Role}
}
