package events

import "slices"

// The events of this file say who stands in which relation to a patient, who is
// their subject.

// CareOpened says that somebody cares for the patient: one actor, or everybody
// of a department.
type CareOpened struct {
	// Actor opened the relationship, as by an admission or a referral.
	Actor ID `json:"actor"`
	// Decision allowed it.
	Decision Decision `json:"decision"`
	// Department is the department that cares; zero if it is one actor.
	Department ID `json:"department,omitzero"`
	// Member is the actor who cares; zero if it is a department.
	Member ID `json:"member,omitzero"`
	// Relationship names the relationship.
	Relationship ID `json:"relationship"`
	// Until is when it ends by itself; zero if it is closed by hand.
	Until Timestamp `json:"until,omitzero"`
}

// CareClosed ends a care relationship.
type CareClosed struct {
	// Actor closed it.
	Actor ID `json:"actor"`
	// Decision allowed it.
	Decision Decision `json:"decision"`
	// Relationship is the relationship that ends.
	Relationship ID `json:"relationship"`
}

// ProxyAppointed lets an actor act for the patient: a guardian, or whom the
// patient chose.
type ProxyAppointed struct {
	// Actor recorded the appointment.
	Actor ID `json:"actor"`
	// Appointment names it.
	Appointment ID `json:"appointment"`
	// Decision allowed it.
	Decision Decision `json:"decision"`
	// Proxy is who may act for the patient.
	Proxy ID `json:"proxy"`
	// Scope is what for, in the order of the codes, each once.
	Scope []ProxyScope `json:"scope"`
	// Until is when it ends by itself; zero if it is ended by hand.
	Until Timestamp `json:"until,omitzero"`
}

// ProxyDismissed ends the appointment of a proxy.
type ProxyDismissed struct {
	// Actor ended it.
	Actor ID `json:"actor"`
	// Appointment is the appointment that ends.
	Appointment ID `json:"appointment"`
	// Decision allowed it.
	Decision Decision `json:"decision"`
}

// ConsentGranted says that the patient agrees to a use of their records.
type ConsentGranted struct {
	// Actor gave or recorded the consent.
	Actor ID `json:"actor"`
	// Consent names it.
	Consent ID `json:"consent"`
	// Decision allowed it.
	Decision Decision `json:"decision"`
	// Purpose is the use.
	Purpose Purpose `json:"purpose"`
}

// ConsentWithdrawn says that the patient does not agree, or no longer: not even
// to what is implied by coming for treatment. From then on nothing is released
// for the purpose, except what a law demands.
type ConsentWithdrawn struct {
	// Actor withdrew the consent, or recorded that it is withdrawn.
	Actor ID `json:"actor"`
	// Consent is the consent that is withdrawn; zero if it was only implied.
	Consent ID `json:"consent,omitzero"`
	// Decision allowed it.
	Decision Decision `json:"decision"`
	// Purpose is the use that it was for.
	Purpose Purpose `json:"purpose"`
}

// EventType implements Data.
func (*CareOpened) EventType() Type { return TypeCareOpened }

// Check implements Data.
func (d *CareOpened) Check() error {
	if d.Actor.IsZero() || d.Relationship.IsZero() {
		return invalid("care relationship without an actor or an id")
	}
	if d.Member.IsZero() == d.Department.IsZero() {
		return invalid("a care relationship is with one actor or with one department")
	}
	if d.Until != 0 {
		if err := d.Until.check("until"); err != nil {
			return err
		}
	}
	return d.Decision.check()
}

// EventType implements Data.
func (*CareClosed) EventType() Type { return TypeCareClosed }

// Check implements Data.
func (d *CareClosed) Check() error {
	if d.Actor.IsZero() || d.Relationship.IsZero() {
		return invalid("closed care without an actor or a relationship")
	}
	return d.Decision.check()
}

// EventType implements Data.
func (*ProxyAppointed) EventType() Type { return TypeProxyAppointed }

// Check implements Data.
func (d *ProxyAppointed) Check() error {
	if d.Actor.IsZero() || d.Proxy.IsZero() || d.Appointment.IsZero() {
		return invalid("appointment without an actor, a proxy or an id")
	}
	if err := CheckScope(d.Scope); err != nil {
		return err
	}
	if d.Until != 0 {
		if err := d.Until.check("until"); err != nil {
			return err
		}
	}
	return d.Decision.check()
}

// CheckScope returns an error that wraps ErrInvalid if a scope is empty, has an
// unknown code, or does not have its codes in order and each once.
func CheckScope(scope []ProxyScope) error {
	if len(scope) == 0 {
		return invalid("a proxy's scope is empty")
	}
	for i, s := range scope {
		if !s.Valid() {
			return invalid("unknown code in a proxy's scope")
		}
		if i > 0 && scope[i-1] >= s {
			return invalid("a proxy's scope is not in the order of its codes, each once")
		}
	}
	return nil
}

// ScopeOf returns codes in the order that CheckScope wants.
func ScopeOf(codes ...ProxyScope) []ProxyScope {
	sorted := slices.Clone(codes)
	slices.Sort(sorted)
	return slices.Compact(sorted)
}

// EventType implements Data.
func (*ProxyDismissed) EventType() Type { return TypeProxyDismissed }

// Check implements Data.
func (d *ProxyDismissed) Check() error {
	if d.Actor.IsZero() || d.Appointment.IsZero() {
		return invalid("dismissal without an actor or an appointment")
	}
	return d.Decision.check()
}

// EventType implements Data.
func (*ConsentGranted) EventType() Type { return TypeConsentGranted }

// Check implements Data.
func (d *ConsentGranted) Check() error {
	if d.Actor.IsZero() || d.Consent.IsZero() {
		return invalid("consent without an actor or an id")
	}
	if !d.Purpose.Valid() {
		return invalid("unknown purpose of use")
	}
	return d.Decision.check()
}

// EventType implements Data.
func (*ConsentWithdrawn) EventType() Type { return TypeConsentWithdrawn }

// Check implements Data.
func (d *ConsentWithdrawn) Check() error {
	if d.Actor.IsZero() {
		return invalid("withdrawal of a consent without an actor")
	}
	if !d.Purpose.Valid() {
		return invalid("unknown purpose of use")
	}
	return d.Decision.check()
}
