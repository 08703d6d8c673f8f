package events

// The codes below are closed sets. A code that is not listed is refused, so a
// field of a code type cannot smuggle text into a leaf.

// Role is what an actor is; the rules of verifier/decision go by it.
type Role string

// The roles.
const (
	RoleClinician Role = "clinician"
	RoleNurse     Role = "nurse"
	RoleClerk     Role = "clerk"
	RolePatient   Role = "patient"
	RoleRecipient Role = "recipient" // an outside organisation that records are disclosed to
	RoleAuditor   Role = "auditor"
	RoleAdmin     Role = "admin"
	RoleDevice    Role = "device"
	RoleSystem    Role = "system" // the ledger itself
)

// Purpose is an HL7 PurposeOfUse code
// (http://terminology.hl7.org/CodeSystem/v3-ActReason).
type Purpose string

// The purposes of use.
const (
	PurposeTreatment   Purpose = "TREAT"
	PurposeEmergency   Purpose = "ETREAT"
	PurposeBreakGlass  Purpose = "BTG"
	PurposePayment     Purpose = "HPAYMT"
	PurposeOperations  Purpose = "HOPERAT"
	PurposeResearch    Purpose = "HRESCH"
	PurposePublic      Purpose = "PUBHLTH"
	PurposePatient     Purpose = "PATRQT"
	PurposeFamily      Purpose = "FAMRQT"
	PurposeLegal       Purpose = "HLEGAL"
	PurposeSystemAdmin Purpose = "HSYSADMIN"
)

// Confidentiality is an HL7 v3 Confidentiality code.
type Confidentiality string

// The levels of confidentiality, from unrestricted to very restricted.
const (
	Unrestricted   Confidentiality = "U"
	Low            Confidentiality = "L"
	Moderate       Confidentiality = "M"
	Normal         Confidentiality = "N"
	Restricted     Confidentiality = "R"
	VeryRestricted Confidentiality = "V"
)

// Kind says what sort of document a record is; retention rules go by it.
type Kind string

// The kinds of record.
const (
	KindChart        Kind = "chart"
	KindSurgery      Kind = "surgery"
	KindNursing      Kind = "nursing"
	KindMidwifery    Kind = "midwifery"
	KindLaboratory   Kind = "laboratory"
	KindRadiology    Kind = "radiology"
	KindPrescription Kind = "prescription"
	KindCertificate  Kind = "certificate"
	KindObservation  Kind = "observation" // readings of a device
	KindBundle       Kind = "bundle"      // a whole history, such as a FHIR bundle
)

// Action is what somebody wants to do to a record.
type Action string

// The actions.
const (
	ActionRegister  Action = "register" // an actor
	ActionOriginate Action = "originate"
	ActionAmend     Action = "amend"
	ActionAccess    Action = "access"
	ActionDisclose  Action = "disclose"
	ActionReceive   Action = "receive"
	ActionDestroy   Action = "destroy"
)

// Ground says why a record is destroyed.
type Ground string

// The grounds.
const (
	GroundPatientRequest  Ground = "patient-request"
	GroundRetentionEnded  Ground = "retention-ended"
	GroundPurposeEnded    Ground = "purpose-ended"
	GroundUnlawfulStorage Ground = "unlawful-storage"
)

var (
	roles = set(RoleClinician, RoleNurse, RoleClerk, RolePatient, RoleRecipient,
		RoleAuditor, RoleAdmin, RoleDevice, RoleSystem)
	purposes = set(PurposeTreatment, PurposeEmergency, PurposeBreakGlass, PurposePayment, PurposeOperations,
		PurposeResearch, PurposePublic, PurposePatient, PurposeFamily, PurposeLegal, PurposeSystemAdmin)
	confidentialities = set(Unrestricted, Low, Moderate, Normal, Restricted, VeryRestricted)
	kinds             = set(KindChart, KindSurgery, KindNursing, KindMidwifery, KindLaboratory, KindRadiology,
		KindPrescription, KindCertificate, KindObservation, KindBundle)
	actions = set(ActionRegister, ActionOriginate, ActionAmend, ActionAccess, ActionDisclose, ActionReceive, ActionDestroy)
	grounds = set(GroundPatientRequest, GroundRetentionEnded, GroundPurposeEnded, GroundUnlawfulStorage)
)

// Valid reports whether the code is one of the set.
func (r Role) Valid() bool            { return roles[r] }
func (p Purpose) Valid() bool         { return purposes[p] }
func (c Confidentiality) Valid() bool { return confidentialities[c] }
func (k Kind) Valid() bool            { return kinds[k] }
func (a Action) Valid() bool          { return actions[a] }
func (g Ground) Valid() bool          { return grounds[g] }

func set[C comparable](codes ...C) map[C]bool {
	m := make(map[C]bool, len(codes))
	for _, c := range codes {
		m[c] = true
	}
	return m
}
