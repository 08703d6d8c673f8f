package token

import (
	"context"
	"errors"

	"github.com/medledger/medledger/ledger/custody"
)

// statuses are the contract's errors and what stands for each on the wire. The first
// that an error wraps counts.
var statuses = []struct {
	err    error
	status status
}{
	{custody.ErrNoKey, statusNoKey},
	{custody.ErrExists, statusExists},
	{custody.ErrSealed, statusSealed},
	{custody.ErrUnavailable, statusUnavailable},
	{custody.ErrName, statusName},
	{custody.ErrTooLong, statusTooLong},
	{context.DeadlineExceeded, statusUnavailable},
	{context.Canceled, statusUnavailable},
}

// failure is the response to a request that failed. Custody's errors name keys and
// tokens, and never hold a key or a PIN.
func failure(o op, err error) *response {
	for _, s := range statuses {
		if errors.Is(err, s.err) {
			return &response{op: o, status: s.status, text: printable(err.Error())}
		}
	}
	return &response{op: o, status: statusFailed, text: printable(err.Error())}
}

// answered is an error that the helper answered. It reads as it did there, and wraps
// the contract's error that it wrapped there.
type answered struct {
	text string
	err  error // nil for one that the contract does not know
}

func (e *answered) Error() string { return e.text }
func (e *answered) Unwrap() error { return e.err }

// err is the error that a response stands for.
func (a *response) err() error {
	switch a.status {
	case statusOK:
		return nil
	case statusVersion:
		return &answered{"the token's helper: " + a.text, errVersion}
	}
	for _, s := range statuses {
		if s.status == a.status {
			return &answered{"the token's helper: " + a.text, s.err}
		}
	}
	return &answered{"the token's helper: " + a.text, nil}
}
