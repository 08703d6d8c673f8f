package events

// The events of this file have the record that is destroyed as their subject.

// DestructionRequested asks for the destruction of a record.
type DestructionRequested struct {
	// Actor asks for it.
	Actor ID `json:"actor"`
	// Decision allowed the request.
	Decision Decision `json:"decision"`
	// Destruction names the destruction.
	Destruction ID `json:"destruction"`
	// Ground is why.
	Ground Ground `json:"ground"`
}

// DestructionStarted closes a record for ever. It is durable before the first
// key is touched; a ledger that finds it without its RecordDestroyed completes
// the destruction when it starts.
type DestructionStarted struct {
	// Actor asked for the destruction.
	Actor ID `json:"actor"`
	// Approver allowed it, and is somebody else.
	Approver ID `json:"approver"`
	// Decision allowed it.
	Decision Decision `json:"decision"`
	// Destruction names the destruction.
	Destruction ID `json:"destruction"`
	// Ground is why.
	Ground Ground `json:"ground"`
	// Versions is how many versions the record has.
	Versions uint32 `json:"versions"`
}

// RecordDestroyed says that no key of the record exists any more.
type RecordDestroyed struct {
	// Custody says the weakest that the root key above this record was ever kept in,
	// also before a move, and with it what the destruction withstands: "file" does
	// not withstand an image of that file's disk that was taken before, "token"
	// withstands images of every disk.
	Custody string `json:"custody"`
	// Destruction is the destruction that this completes.
	Destruction ID `json:"destruction"`
	// Keys is how many keys were destroyed: one for each version, the record's own
	// above them, and perhaps some of versions that were being added and never
	// came to be.
	Keys uint32 `json:"keys"`
	// Method is how: "cryptographic-erase" (NIST SP 800-88).
	Method string `json:"method"`
}

// How a record is destroyed, and where its root key was kept.
const (
	MethodCryptographicErase = "cryptographic-erase"
	CustodyFile              = "file"
	CustodyToken             = "token"
)

// EventType implements Data.
func (*DestructionRequested) EventType() Type { return TypeDestructionRequested }

// Check implements Data.
func (d *DestructionRequested) Check() error {
	switch {
	case d.Actor.IsZero() || d.Destruction.IsZero():
		return invalid("request for a destruction without an id or an actor")
	case !d.Ground.Valid():
		return invalid("unknown ground of destruction")
	}
	return d.Decision.check()
}

// EventType implements Data.
func (*DestructionStarted) EventType() Type { return TypeDestructionStarted }

// Check implements Data.
func (d *DestructionStarted) Check() error {
	switch {
	case d.Actor.IsZero() || d.Approver.IsZero() || d.Destruction.IsZero():
		return invalid("destruction without an id, an actor or an approver")
	case d.Actor == d.Approver:
		return invalid("destruction approved by the one who asked for it")
	case !d.Ground.Valid():
		return invalid("unknown ground of destruction")
	case d.Versions == 0:
		return invalid("destruction of a record without versions")
	}
	return d.Decision.check()
}

// EventType implements Data.
func (*RecordDestroyed) EventType() Type { return TypeRecordDestroyed }

// Check implements Data.
func (d *RecordDestroyed) Check() error {
	if d.Destruction.IsZero() {
		return invalid("destroyed without a destruction")
	}
	return checkErasure(d.Method, d.Custody)
}

func checkErasure(method, custody string) error {
	if method != MethodCryptographicErase {
		return invalid("unknown method of destruction")
	}
	if custody != CustodyFile && custody != CustodyToken {
		return invalid("unknown custody")
	}
	return nil
}
