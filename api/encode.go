package api

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"

	"github.com/medledger/medledger/api/client"
	"github.com/medledger/medledger/ledger"
	"github.com/medledger/medledger/verifier/receipt"
)

// Receipts are most of what commands are answered with, and base64 most of a
// receipt: they are written by appending. What is appended is what receipt.Marshal
// writes.

// receipts writes receipts into an answer. Those of one checkpoint have the same
// announcements of keys, which are encoded once.
type receipts struct {
	of   []receipt.ProvedStatement
	keys []byte
}

func (e *receipts) append(b []byte, r *receipt.Receipt) []byte {
	b = append(b, '{')
	if n := len(r.Announcements); n > 0 {
		if len(e.of) != n || &e.of[0] != &r.Announcements[0] {
			e.of, e.keys = r.Announcements, appendKeys(e.keys[:0], r.Announcements)
		}
		b = append(b, e.keys...)
	}
	if len(r.Proof) > 0 {
		b = appendBytes(b, `"proof":`, r.Proof)
		b = append(b, ',')
	}
	b = appendBytes(b, `"statement":`, r.Statement)
	b = append(b, `,"status":"`...)
	b = append(b, r.Status...)
	return append(b, `"}`...)
}

func appendKeys(b []byte, announced []receipt.ProvedStatement) []byte {
	b = append(b, `"keys":[`...)
	for i, a := range announced {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, '{')
		b = appendBytes(b, `"proof":`, a.Proof)
		b = append(b, ',')
		b = appendBytes(b, `"statement":`, a.Statement)
		b = append(b, '}')
	}
	return append(b, `],`...)
}

// appendBytes appends a member whose value is bytes.
func appendBytes(b []byte, name string, value []byte) []byte {
	b = append(b, name...)
	b = append(b, '"')
	b = base64.StdEncoding.AppendEncode(b, value)
	return append(b, '"')
}

// receiptOf returns a result's receipt in JSON.
func receiptOf(ctx context.Context, r *ledger.Result) (json.RawMessage, error) {
	proved, err := r.Receipt(ctx)
	if err != nil {
		return nil, fmt.Errorf("proving an event: %w", err)
	}
	return new(receipts).append(nil, proved), nil
}

// done is the common part of the answer to a command.
func done(ctx context.Context, r *ledger.Result) (client.Done, error) {
	text, err := receiptOf(ctx, r)
	return client.Done{Event: r.Event.ID, Index: r.Index, Receipt: text}, err
}

// appendVersion appends the answer to a new version of a record: a RecordVersion
// as encoding/json would write it, without its braces.
func (e *receipts) appendVersion(b []byte, r *ledger.Result, version uint32, proved *receipt.Receipt) []byte {
	b = append(b, `"record":"`...)
	b = r.Event.Subject.AppendText(b)
	b = append(b, `","version":`...)
	b = strconv.AppendUint(b, uint64(version), 10)
	b = append(b, `,"event":"`...)
	b = r.Event.ID.AppendText(b)
	b = append(b, `","index":`...)
	b = strconv.AppendUint(b, r.Index, 10)
	b = append(b, `,"receipt":`...)
	return e.append(b, proved)
}

const jsonType = "application/json"

// sendJSON answers with a value. Nothing of it is kept by a cache.
func sendJSON(w http.ResponseWriter, status int, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("writing an answer: %w", err)
	}
	sendBytes(w, status, append(body, '\n'))
	return nil
}

func sendBytes(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Type", jsonType)
	w.Header().Set("Cache-Control", "no-store")
	setLength(w, len(body))
	w.WriteHeader(status)
	_, _ = w.Write(body) // an error means that the client has gone
}

// name writes the event of a command into the headers of its answer.
func name(w http.ResponseWriter, r *ledger.Result) {
	w.Header().Set("Medledger-Event", r.Event.ID.String())
	w.Header().Set("Medledger-Index", strconv.FormatUint(r.Index, 10))
}
