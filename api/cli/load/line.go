package load

import (
	"bytes"
	"context"
	"crypto/sha256"
	"math/rand/v2"

	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/ledger"
)

// Line is a line of what the mixed load writes, as a JSON object: what was
// promised to a caller. It is written with one call, after the ledger has
// answered and before the caller goes on, so whoever kills the process knows
// everything that it may not have lost. Of the three kinds of line only one kind
// of field is set.
type Line struct {
	// Opened is how many events the log had when it was opened, which took
	// Micros microseconds. It is the first line.
	Opened *uint64 `json:"opened,omitempty"`
	Micros int64   `json:"micros,omitempty"`
	// Ack is an event that the ledger answered with.
	Ack *Ack `json:"ack,omitempty"`
	// None is the id of something that was refused for good and that no event
	// may ever mention: the correlation of a command, or an actor that there is
	// not.
	None events.ID `json:"none,omitzero"`
}

// Ack is an event that is durable and in the log.
type Ack struct {
	Event     events.ID     `json:"event"`
	Index     uint64        `json:"index"`
	Statement events.Digest `json:"statement"` // its SHA-256
	Type      events.Type   `json:"type"`
	Subject   events.ID     `json:"subject,omitzero"`
	// Version is the version of the record that the event made, with a content
	// of the given SHA-256.
	Version uint32        `json:"version,omitempty"`
	Content events.Digest `json:"content,omitzero"`
	// Key is the idempotency key of the command, if it was an origination with
	// one: Repeat gives the same command again.
	Key     string    `json:"key,omitempty"`
	Actor   events.ID `json:"actor,omitzero"`
	Patient events.ID `json:"patient,omitzero"`
	// Identifier is what the patient whom the event registered is known by.
	Identifier string `json:"identifier,omitempty"`
	// Secret is the token that the event issued, which is called Token.
	Secret string    `json:"secret,omitempty"`
	Token  events.ID `json:"token,omitzero"`
}

// Repeat gives the command of an origination again, which must answer with the
// same event.
func (a Ack) Repeat(ctx context.Context, l *ledger.Ledger) (*ledger.Result, error) {
	return l.Originate(ctx, ledger.Command{Actor: a.Actor, IdempotencyKey: a.Key}, Origination(a.Patient), bytes.NewReader(contentOf(a.Key)))
}

// contentOf returns the content of an origination with an idempotency key.
func contentOf(key string) []byte {
	b := make([]byte, contentSize)
	rand.NewChaCha8(sha256.Sum256([]byte(key))).Read(b) // never fails
	return b
}
