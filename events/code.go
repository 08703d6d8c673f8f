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
	RoleProxy     Role = "proxy"  // who acts for patients, such as a guardian
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

// Action is what somebody wants to do.
type Action string

// The actions. Those of the second group are done to a patient.
const (
	ActionRegister           Action = "register" // an actor
	ActionIssueToken         Action = "issue-token"
	ActionRevokeToken        Action = "revoke-token"
	ActionReadLog            Action = "read-log"
	ActionOriginate          Action = "originate"
	ActionAmend              Action = "amend"
	ActionAccess             Action = "access"
	ActionRefile             Action = "refile"
	ActionReadHistory        Action = "read-history"
	ActionDisclose           Action = "disclose"
	ActionReceive            Action = "receive"
	ActionAcknowledge        Action = "acknowledge"
	ActionEndShare           Action = "end-share"
	ActionRequestDestruction Action = "request-destruction"
	ActionDestroy            Action = "destroy" // approve a destruction

	ActionRegisterPatient Action = "register-patient"
	ActionLookUpPatient   Action = "look-up-patient"
	ActionMergePatient    Action = "merge-patient"
	ActionListRecords     Action = "list-records"
	ActionListAccesses    Action = "list-accesses"
	ActionOpenCare        Action = "open-care"
	ActionCloseCare       Action = "close-care"
	ActionAppointProxy    Action = "appoint-proxy"
	ActionDismissProxy    Action = "dismiss-proxy"
	ActionGrantConsent    Action = "grant-consent"
	ActionWithdrawConsent Action = "withdraw-consent"
)

// Query is what somebody asks about a patient.
type Query string

// The queries.
const (
	QueryIdentifier Query = "identifier" // who has this identifier
	QueryRecords    Query = "records"    // which records there are
	QueryAccesses   Query = "accesses"   // who saw or received what
	QueryRights     Query = "rights"     // who cares, who acts for them, what they agreed to
)

// ProxyScope is what a proxy may do for a patient.
type ProxyScope string

// The scopes of a proxy.
const (
	ProxyConsents    ProxyScope = "consents"    // grant and withdraw consents
	ProxyDestruction ProxyScope = "destruction" // ask for the destruction of records
	ProxyRead        ProxyScope = "read"        // read records, and who read them
)

// DeliveryFailure says why a release did not reach its reader.
type DeliveryFailure string

// The failures of a delivery.
const (
	FailureDisconnected DeliveryFailure = "disconnected" // the reader went away
	FailureRightEnded   DeliveryFailure = "right-ended"  // what permitted it ended meanwhile
	FailureUnavailable  DeliveryFailure = "unavailable"  // the content could not be read
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
		RoleAuditor, RoleAdmin, RoleDevice, RoleSystem, RoleProxy)
	purposes = set(PurposeTreatment, PurposeEmergency, PurposeBreakGlass, PurposePayment, PurposeOperations,
		PurposeResearch, PurposePublic, PurposePatient, PurposeFamily, PurposeLegal, PurposeSystemAdmin)
	confidentialities = set(Unrestricted, Low, Moderate, Normal, Restricted, VeryRestricted)
	kinds             = set(KindChart, KindSurgery, KindNursing, KindMidwifery, KindLaboratory, KindRadiology,
		KindPrescription, KindCertificate, KindObservation, KindBundle)
	patientActions = set(ActionRegisterPatient, ActionLookUpPatient, ActionMergePatient, ActionListRecords,
		ActionListAccesses, ActionOpenCare, ActionCloseCare, ActionAppointProxy, ActionDismissProxy,
		ActionGrantConsent, ActionWithdrawConsent)
	otherActions = set(ActionRegister, ActionIssueToken, ActionRevokeToken, ActionReadLog, ActionOriginate, ActionAmend,
		ActionAccess, ActionRefile, ActionReadHistory, ActionDisclose, ActionReceive, ActionAcknowledge, ActionEndShare,
		ActionRequestDestruction, ActionDestroy)
	queries  = set(QueryIdentifier, QueryRecords, QueryAccesses, QueryRights)
	scopes   = set(ProxyConsents, ProxyDestruction, ProxyRead)
	failures = set(FailureDisconnected, FailureRightEnded, FailureUnavailable)
	grounds  = set(GroundPatientRequest, GroundRetentionEnded, GroundPurposeEnded, GroundUnlawfulStorage)
)

// Valid reports whether the code is one of the set.
func (r Role) Valid() bool            { return has(roles, r) }
func (p Purpose) Valid() bool         { return has(purposes, p) }
func (c Confidentiality) Valid() bool { return has(confidentialities, c) }
func (k Kind) Valid() bool            { return has(kinds, k) }
func (a Action) Valid() bool          { return has(otherActions, a) || has(patientActions, a) }
func (q Query) Valid() bool           { return has(queries, q) }
func (s ProxyScope) Valid() bool      { return has(scopes, s) }
func (f DeliveryFailure) Valid() bool { return has(failures, f) }
func (g Ground) Valid() bool          { return has(grounds, g) }

// OnPatient reports whether the action is done to a patient, and not to a record,
// an actor or the ledger.
func (a Action) OnPatient() bool { return has(patientActions, a) }

// Own returns a known code as this program spells it. A code that was cut out of a
// request or a statement would keep the whole of that in memory.
func (k Kind) Own() Kind { return own(kinds, k) }

// Own returns a known code as this program spells it, as Kind's does.
func (c Confidentiality) Own() Confidentiality { return own(confidentialities, c) }

func set[C comparable](codes ...C) map[C]C {
	m := make(map[C]C, len(codes))
	for _, c := range codes {
		m[c] = c
	}
	return m
}

func has[C comparable](m map[C]C, c C) bool {
	_, ok := m[c]
	return ok
}

func own[C comparable](m map[C]C, c C) C {
	if known, ok := m[c]; ok {
		return known
	}
	return c
}
