package load

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/medledger/medledger/api/client"
	"github.com/medledger/medledger/events"
	"github.com/medledger/medledger/verifier/history"
	"github.com/medledger/medledger/verifier/proof"
	"github.com/medledger/medledger/verifier/receipt"
)

// BatchSize is how many records a batch has.
const BatchSize = 100

// verifyEvery is how many receipts come in for each that is verified.
const verifyEvery = 100

// remote is a service that is called over HTTP.
type remote struct {
	clinician, clerk, administrator *client.Client
	verifier                        note.Verifier
	sent, received, verified        atomic.Int64
	mapProof                        atomic.Int64 // bytes of the longest

	patients []events.ID
	mu       sync.Mutex
	records  []events.ID
}

func newRemote(url string, s Setup) (*remote, error) {
	verifier, err := proof.ParseVerifierKey([]byte(s.VerifierKey))
	if err != nil {
		return nil, fmt.Errorf("the log's verifier key: %w", err)
	}
	if len(s.Patients) == 0 || len(s.Records) == 0 {
		return nil, errors.New("a load needs patients and records")
	}
	r := &remote{verifier: verifier, patients: s.Patients, records: s.Records}
	shared := &http.Client{Transport: r.transport()}
	as := func(token string) *client.Client { return &client.Client{URL: url, Token: token, HTTP: shared} }
	r.clinician, r.clerk, r.administrator = as(s.Clinician), as(s.Clerk), as(s.Administrator)
	return r, nil
}

// transport keeps one connection for each caller, and asks for nothing that costs
// either side time.
func (r *remote) transport() *http.Transport {
	dialer := &net.Dialer{Timeout: 10 * time.Second}
	return &http.Transport{
		MaxIdleConnsPerHost: maxWorkers + 1, DisableCompression: true,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := dialer.DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return &counted{c, r}, nil
		},
	}
}

// counted is a connection whose bytes are counted.
type counted struct {
	net.Conn
	r *remote
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.r.received.Add(int64(n))
	return n, err
}

func (c *counted) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.r.sent.Add(int64(n))
	return n, err
}

// maxWorkers is how many callers a job has at most.
const maxWorkers = 1024

// remoteActs are what a job does again and again.
var remoteActs = map[string]func(*remote, context.Context, *Worker) error{
	"append":  (*remote).append,
	"batch":   (*remote).batch,
	"read":    (*remote).read,
	"history": (*remote).history,
	"destroy": (*remote).destroy,
}

// run does a job.
func (r *remote) run(ctx context.Context, job Job, lines *inLines) (*Summary, error) {
	act := remoteActs[job.Act]
	if act == nil || job.Workers < 1 || job.Workers > maxWorkers {
		return nil, fmt.Errorf("no job %q for %d workers", job.Act, job.Workers)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ends, uploaded, err := r.ends(ctx, job, lines)
	if err != nil {
		return nil, err
	}
	before := Summary{Sent: r.sent.Load(), Received: r.received.Load(), Verified: r.verified.Load()}
	s, err := Measure(ctx, job.Seed, job.Workers, ends, func(ctx context.Context, w *Worker) error { return act(r, ctx, w) })
	if job.Killed && ctx.Err() == nil && len(s.Took) > 0 {
		err = nil
	}
	if err != nil {
		cancel() // ends the upload as well
	}
	var upload uploadResult
	if uploaded != nil {
		upload = <-uploaded
	}
	return &Summary{
		Calls: len(s.Took), Elapsed: s.Elapsed,
		P50: s.Quantile(.50), P95: s.Quantile(.95), P99: s.Quantile(.99), Max: s.Quantile(1),
		CPU: s.Used, Sent: r.sent.Load() - before.Sent, Received: r.received.Load() - before.Received,
		Verified: r.verified.Load() - before.Verified, Uploaded: upload.took, MapProof: r.mapProof.Swap(0),
	}, errors.Join(err, upload.err)
}

// uploadResult is what came of an upload.
type uploadResult struct {
	took time.Duration
	err  error
}

// ends says when a job's workers have done enough. If a content is uploaded
// meanwhile, the channel gives what came of that.
func (r *remote) ends(ctx context.Context, job Job, lines *inLines) (func() bool, <-chan uploadResult, error) {
	switch {
	case job.Lasting > 0:
		return Lasting(job.Lasting), nil, nil
	case job.Calls > 0:
		return Times(job.Calls), nil, nil
	case job.Stopped:
		var told atomic.Bool // one worker hears it for all
		return func() bool {
			select {
			case <-lines.each:
				told.Store(true)
			default:
			}
			return !told.Load()
		}, nil, nil
	case job.Upload > 0:
		done, result := make(chan struct{}), make(chan uploadResult, 1)
		go func() {
			defer close(done)
			start := time.Now()
			err := r.upload(ctx, job.Upload)
			result <- uploadResult{time.Since(start), err}
		}()
		return Until(done), result, nil
	}
	return nil, nil, fmt.Errorf("the job %q has no end", job.Act)
}

// append stores what the budgets call an append: a new record of 1 KiB, answered
// with a receipt, of which the caller verifies one in a hundred.
func (r *remote) append(ctx context.Context, w *Worker) error {
	v, err := r.clinician.CreateRecord(ctx, r.newRecord(w), bytes.NewReader(w.Fresh()))
	if err != nil {
		return err
	}
	return r.check(w, v.Event, v.Index, v.Receipt)
}

func (r *remote) newRecord(w *Worker) client.NewRecord {
	return client.NewRecord{
		Patient: r.patients[w.IntN(len(r.patients))], Kind: events.KindChart, Confidentiality: events.Normal,
		ContentType: "application/fhir+json",
	}
}

// check is what a client does with one in a hundred receipts: it verifies the bytes
// with nothing but the log's key. A promise is no proof.
func (r *remote) check(w *Worker, event events.ID, index uint64, raw json.RawMessage) error {
	if w.IntN(verifyEvery) > 0 {
		return nil
	}
	rc, err := receipt.Parse(raw)
	if err != nil {
		return fmt.Errorf("the receipt of event %d: %w", index, err)
	}
	verified, err := receipt.Verify(rc, r.verifier)
	if err != nil {
		return fmt.Errorf("the receipt of event %d: %w", index, err)
	}
	if verified.Event.ID != event || verified.Index != index {
		return fmt.Errorf("the receipt of event %d is that of another", index)
	}
	r.verified.Add(1)
	return nil
}

// batch stores a hundred such records with one call.
func (r *remote) batch(ctx context.Context, w *Worker) error {
	items := make([]client.BatchItem, BatchSize)
	for i := range items {
		n := r.newRecord(w)
		items[i] = client.BatchItem{
			Patient: n.Patient, Kind: n.Kind, Confidentiality: n.Confidentiality, ContentType: n.ContentType,
			Content: bytes.Clone(w.Fresh()),
		}
	}
	results, err := r.clinician.CreateRecords(ctx, items)
	if err != nil {
		return err
	}
	if len(results) != len(items) {
		return fmt.Errorf("%d results of %d records", len(results), len(items))
	}
	for _, one := range results {
		if one.Status != http.StatusCreated {
			return fmt.Errorf("a record of a batch was answered %d", one.Status)
		}
		if err := r.check(w, one.Event, one.Index, one.Receipt); err != nil {
			return err
		}
	}
	return nil
}

// read reads a record to its end.
func (r *remote) read(ctx context.Context, w *Worker) error {
	r.mu.Lock()
	record := r.records[w.IntN(len(r.records))]
	r.mu.Unlock()
	c, err := r.clinician.Content(ctx, record, 0, events.PurposeTreatment)
	if err != nil {
		return err
	}
	n, err := io.Copy(io.Discard, c.Body)
	if err := errors.Join(err, c.Body.Close()); err != nil {
		return err
	}
	if n != contentSize {
		return fmt.Errorf("a content of %d bytes came with %d", contentSize, n)
	}
	return nil
}

// history fetches the proof that a record's history is complete, and verifies it.
func (r *remote) history(ctx context.Context, w *Worker) error {
	r.mu.Lock()
	record := r.records[w.IntN(len(r.records))]
	r.mu.Unlock()
	body, err := r.clinician.History(ctx, record)
	if err != nil {
		return err
	}
	bundle, err := io.ReadAll(body)
	if err := errors.Join(err, body.Close()); err != nil {
		return err
	}
	v, err := history.Verify(bytes.NewReader(bundle), r.verifier, nil)
	if err != nil {
		return fmt.Errorf("the history of record %v: %w", record, err)
	}
	if v.Record != record || v.Summary == nil {
		return fmt.Errorf("the history of record %v is that of another, or of none", record)
	}
	var header struct{ Map []byte }
	first, _, _ := bytes.Cut(bundle, []byte{'\n'})
	if err := json.Unmarshal(first, &header); err != nil {
		return fmt.Errorf("the history of record %v: %w", record, err)
	}
	for n := int64(len(header.Map)); ; {
		longest := r.mapProof.Load()
		if n <= longest || r.mapProof.CompareAndSwap(longest, n) {
			return nil
		}
	}
}

// destroy has the clerk ask for a record's destruction and the administrator
// approve it.
func (r *remote) destroy(ctx context.Context, w *Worker) error {
	record, err := r.take(w)
	if err != nil {
		return err
	}
	request, err := r.clerk.RequestDestruction(ctx, record, events.GroundRetentionEnded)
	if err != nil {
		return err
	}
	_, err = r.administrator.ApproveDestruction(ctx, request.ID)
	return err
}

// take removes a record at random from those known.
func (r *remote) take(w *Worker) (events.ID, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	last := len(r.records) - 1
	if last < 1 {
		return events.ID{}, errors.New("no record is left to be destroyed")
	}
	i := w.IntN(len(r.records))
	record := r.records[i]
	r.records[i] = r.records[last]
	r.records = r.records[:last]
	return record, nil
}

// upload streams one large content.
func (r *remote) upload(ctx context.Context, size int64) error {
	w := NewWorker(0, 0)
	_, err := r.clinician.CreateRecord(ctx, r.newRecord(w), &generated{left: size, block: w.Fresh()})
	if err != nil {
		return fmt.Errorf("uploading %d bytes: %w", size, err)
	}
	return nil
}

// generated is a content made of one block again and again: making it costs
// next to nothing, encrypting and writing it what any other costs.
type generated struct {
	left  int64
	block []byte
}

// Read implements io.Reader.
func (g *generated) Read(p []byte) (int, error) {
	if g.left == 0 {
		return 0, io.EOF
	}
	n := 0
	for n < len(p) && g.left > 0 {
		m := copy(p[n:], g.block[:min(g.left, int64(len(g.block)))])
		n += m
		g.left -= int64(m)
	}
	return n, nil
}
