package events

// Decision is the trace that a decision leaves in its event: enough to make it
// again. Outcome and facts are the event's own fields and the state at the
// position.
type Decision struct {
	// Position is the size of the log whose state the decision was made on: it
	// saw the effects of every event with a lower index and of no other.
	Position uint64 `json:"position"`
	// Rule is the rule that decided, by the name it has in Rules.
	Rule string `json:"rule"`
	// Rules is the version of the rules, such as "medledger-rules-1".
	Rules string `json:"rules"`
}

func (d Decision) check() error {
	if d.Position > maxSafeInteger {
		return invalid("decision at position %d", d.Position)
	}
	if !isCode(d.Rules) || !isCode(d.Rule) {
		return invalid("decision without a rule or a version of the rules")
	}
	return nil
}

// isCode reports whether s looks like a name that the ledger itself gives:
// lower-case letters, digits, hyphens, at most 40 of them.
func isCode(s string) bool {
	if s == "" || len(s) > 40 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-') {
			return false
		}
	}
	return true
}

// Decision returns the decision that led to the event, and false if none did.
func (e Event) Decision() (Decision, bool) {
	if d, ok := e.Data.(interface{ decided() Decision }); ok {
		return d.decided(), true
	}
	return Decision{}, false
}

func (d *ActorRegistered) decided() Decision      { return d.Decision }
func (d *ActorRegisteredV1) decided() Decision    { return d.Decision }
func (d *TokenIssued) decided() Decision          { return d.Decision }
func (d *TokenRevoked) decided() Decision         { return d.Decision }
func (d *LogRead) decided() Decision              { return d.Decision }
func (d *PatientRegistered) decided() Decision    { return d.Decision }
func (d *PatientMerged) decided() Decision        { return d.Decision }
func (d *PatientQueried) decided() Decision       { return d.Decision }
func (d *CareOpened) decided() Decision           { return d.Decision }
func (d *CareClosed) decided() Decision           { return d.Decision }
func (d *ProxyAppointed) decided() Decision       { return d.Decision }
func (d *ProxyDismissed) decided() Decision       { return d.Decision }
func (d *ConsentGranted) decided() Decision       { return d.Decision }
func (d *ConsentWithdrawn) decided() Decision     { return d.Decision }
func (d *RecordOriginated) decided() Decision     { return d.Decision }
func (d *RecordAmended) decided() Decision        { return d.Decision }
func (d *RecordAccessed) decided() Decision       { return d.Decision }
func (d *RecordRefiled) decided() Decision        { return d.Decision }
func (d *HistoryRead) decided() Decision          { return d.Decision }
func (d *AccessRefused) decided() Decision        { return d.Decision }
func (d *RecordDisclosed) decided() Decision      { return d.Decision }
func (d *RecordReceived) decided() Decision       { return d.Decision }
func (d *ShareAcknowledged) decided() Decision    { return d.Decision }
func (d *ShareEnded) decided() Decision           { return d.Decision }
func (d *DestructionRequested) decided() Decision { return d.Decision }
func (d *DestructionStarted) decided() Decision   { return d.Decision }

// Actor returns who did what the event says; zero if the ledger did it itself.
func (e Event) Actor() ID {
	if d, ok := e.Data.(interface{ actor() ID }); ok {
		return d.actor()
	}
	return ID{}
}

func (d *ActorRegistered) actor() ID      { return d.By }
func (d *ActorRegisteredV1) actor() ID    { return d.By }
func (d *TokenIssued) actor() ID          { return d.By }
func (d *TokenRevoked) actor() ID         { return d.By }
func (d *LogRead) actor() ID              { return d.Actor }
func (d *PatientRegistered) actor() ID    { return d.Actor }
func (d *PatientMerged) actor() ID        { return d.Actor }
func (d *PatientQueried) actor() ID       { return d.Actor }
func (d *CareOpened) actor() ID           { return d.Actor }
func (d *CareClosed) actor() ID           { return d.Actor }
func (d *ProxyAppointed) actor() ID       { return d.Actor }
func (d *ProxyDismissed) actor() ID       { return d.Actor }
func (d *ConsentGranted) actor() ID       { return d.Actor }
func (d *ConsentWithdrawn) actor() ID     { return d.Actor }
func (d *RecordOriginated) actor() ID     { return d.Actor }
func (d *RecordAmended) actor() ID        { return d.Actor }
func (d *RecordAccessed) actor() ID       { return d.Actor }
func (d *RecordRefiled) actor() ID        { return d.Actor }
func (d *HistoryRead) actor() ID          { return d.Actor }
func (d *DeliveryFailed) actor() ID       { return d.Actor }
func (d *AccessRefused) actor() ID        { return d.Actor }
func (d *RecordDisclosed) actor() ID      { return d.Actor }
func (d *RecordReceived) actor() ID       { return d.Actor }
func (d *ShareAcknowledged) actor() ID    { return d.Actor }
func (d *ShareEnded) actor() ID           { return d.Actor }
func (d *DestructionRequested) actor() ID { return d.Actor }
func (d *DestructionStarted) actor() ID   { return d.Actor }
