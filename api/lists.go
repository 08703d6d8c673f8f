package api

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"net/http"

	"github.com/medledger/medledger/api/client"
	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/ledger"
	"github.com/medledger/medledger/projections/records"
)

// pageSize is how many events, each with its receipt, a page has.
const pageSize = 100

// Cursors say where the page before ended. They give nobody anything: what may be
// listed is decided again for every page. The first byte says of which list they
// are.
const (
	recordCursor = 'r'
	eventCursor  = 'e'
)

var cursorEncoding = base64.RawURLEncoding.Strict()

func formatCursor(kind byte, position []byte) string {
	return cursorEncoding.EncodeToString(append([]byte{kind}, position...))
}

func eventCursorAt(index uint64) string {
	return formatCursor(eventCursor, binary.BigEndian.AppendUint64(nil, index))
}

// position reads the parameter cursor: size bytes, or nil if it is left out.
func (c *call) position(kind byte, size int) ([]byte, error) {
	text, ok := c.query["cursor"]
	if !ok {
		return nil, nil
	}
	bad := &problem{Status: http.StatusBadRequest, Detail: "the cursor is none of this list; begin again without one"}
	if len(text) != cursorEncoding.EncodedLen(1+size) {
		return nil, bad
	}
	raw, err := cursorEncoding.DecodeString(text)
	if err != nil || raw[0] != kind {
		return nil, bad
	}
	return raw[1:], nil
}

// after is the log index that a list of events goes on after.
func (c *call) after() (uint64, error) {
	at, err := c.position(eventCursor, 8)
	if at == nil || err != nil {
		return 0, err
	}
	return binary.BigEndian.Uint64(at), nil
}

func (c *call) listRecords() error {
	q := ledger.Listing{Patient: c.path["patient"]}
	var err error
	if q.Purpose, err = c.purpose(); err != nil {
		return err
	}
	if text, ok := c.query["kind"]; ok {
		if q.Kind, err = code[events.Kind]("kind", text); err != nil {
			return err
		}
	}
	if q.From, err = c.time("from"); err != nil {
		return err
	}
	if q.To, err = c.time("to"); err != nil {
		return err
	}
	at, err := c.position(recordCursor, len(q.After))
	if err != nil {
		return err
	}
	copy(q.After[:], at)
	result, page, err := c.h.Ledger.ListRecords(c.Context(), c.command, q)
	if err != nil {
		return err
	}
	out := client.Records{Records: make([]client.Record, len(page.Entries))}
	names := directory{ledger: c.h.Ledger}
	for i, e := range page.Entries {
		out.Records[i], err = record(c.Context(), &names, e)
		if err != nil {
			return err
		}
	}
	if page.More {
		last := page.Entries[len(page.Entries)-1].ID
		out.Cursor = formatCursor(recordCursor, last[:])
	}
	name(c.w, result)
	return sendJSON(c.w, http.StatusOK, out)
}

func record(ctx context.Context, names *directory, e records.Entry) (client.Record, error) {
	organisation, err := names.of(ctx, e.Organisation)
	return client.Record{
		Record: e.ID, Kind: e.Kind, Confidentiality: e.Confidentiality, Versions: e.Versions,
		Originated: e.Originated.Time(), Organisation: e.Organisation, OrganisationName: organisation,
		Department: e.Department, State: e.Phase.String(),
	}, err
}

func (c *call) listAccesses() error {
	q := ledger.Accesses{Patient: c.path["patient"], Limit: pageSize}
	var err error
	if q.Purpose, err = c.purpose(); err != nil {
		return err
	}
	if q.After, err = c.after(); err != nil {
		return err
	}
	list, more, err := c.h.Ledger.ListAccesses(c.Context(), c.command, q)
	if err != nil {
		return err
	}
	entries, err := c.entriesOf(list)
	if err != nil {
		return err
	}
	out := client.Accesses{Accesses: entries}
	if more {
		out.Cursor = eventCursorAt(list[len(list)-1].Index)
	}
	return sendJSON(c.w, http.StatusOK, out)
}

func (c *call) recordEvents() error {
	after, err := c.after()
	if err != nil {
		return err
	}
	list, more, err := c.h.Ledger.HistoryAfter(c.Context(), c.command, c.path["record"], after, pageSize)
	if err != nil {
		return err
	}
	out := client.RecordEvents{Record: c.path["record"]}
	if more {
		out.Cursor = eventCursorAt(list[pageSize-1].Index)
	}
	if out.Events, err = c.entriesOf(list); err != nil {
		return err
	}
	return sendJSON(c.w, http.StatusOK, out)
}

func (c *call) entriesOf(list []*ledger.Result) ([]client.Entry, error) {
	names := directory{ledger: c.h.Ledger}
	entries := make([]client.Entry, len(list))
	for i, r := range list {
		e := entryOf(r.Event)
		e.Index = r.Index
		if actor, ok := c.h.Ledger.Actor(e.Actor); ok {
			e.Role, e.Organisation = actor.Role, actor.Organisation
		}
		var err error
		if e.OrganisationName, err = names.of(c.Context(), e.Organisation); err != nil {
			return nil, err
		}
		if !e.Share.IsZero() {
			if e.RecipientName, err = c.h.Ledger.RecipientName(c.Context(), e.Share); err != nil {
				return nil, err
			}
		}
		if e.Receipt, err = receiptOf(c.Context(), r); err != nil {
			return nil, err
		}
		entries[i] = e
	}
	return entries, nil
}

// directory remembers names while an answer is made.
type directory struct {
	ledger *ledger.Ledger
	known  map[events.ID]string
}

func (d *directory) of(ctx context.Context, id events.ID) (string, error) {
	if id.IsZero() {
		return "", nil
	}
	if found, ok := d.known[id]; ok {
		return found, nil
	}
	found, err := d.ledger.NameOf(ctx, id)
	if err != nil {
		return "", err
	}
	if d.known == nil {
		d.known = make(map[events.ID]string)
	}
	d.known[id] = found
	return found, nil
}
