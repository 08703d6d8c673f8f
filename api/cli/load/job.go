package load

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/medledger/medledger/events"
)

// Whoever runs 'medledger load --url' talks to it in JSON objects, one a line: a
// Setup goes in first, then Jobs, of which each is answered with a Summary before
// the next may follow. It ends when its input does.

// Setup says who calls the service and what there is to call for.
type Setup struct {
	// Tokens of the people who call. Not on the command line, where others on the
	// machine could read them.
	Clinician     string `json:"clinician"`
	Clerk         string `json:"clerk"`
	Administrator string `json:"administrator"`
	// VerifierKey is the log's, which receipts are verified with.
	VerifierKey string `json:"verifierKey"`
	// Patients are those that records are made of, Records those that are read and
	// destroyed.
	Patients []events.ID `json:"patients"`
	Records  []events.ID `json:"records"`
}

// Job is a load of one kind. Its workers go on until one of the ends that are set.
type Job struct {
	Act     string `json:"act"` // a key of remoteActs
	Workers int    `json:"workers"`
	Seed    uint64 `json:"seed"`

	Lasting time.Duration `json:"lasting,omitempty"` // for so long
	Calls   int           `json:"calls,omitempty"`   // so many calls
	Upload  int64         `json:"upload,omitempty"`  // until a content of so many bytes is uploaded meanwhile
	Stopped bool          `json:"stopped,omitempty"` // until a line comes in
	// Killed says that the service will be killed meanwhile: an error ends the job
	// and is what was to come.
	Killed bool `json:"killed,omitempty"`
}

// Summary is what came of a job.
type Summary struct {
	Error string `json:"error,omitempty"` // the rest says nothing then

	Calls   int           `json:"calls"`
	Elapsed time.Duration `json:"elapsed"`
	P50     time.Duration `json:"p50"`
	P95     time.Duration `json:"p95"`
	P99     time.Duration `json:"p99"`
	Max     time.Duration `json:"max"`

	CPU      time.Duration `json:"cpu"`  // of the process that called
	Sent     int64         `json:"sent"` // bytes on the connections, headers too
	Received int64         `json:"received"`
	Verified int64         `json:"verified"` // receipts
	Uploaded time.Duration `json:"uploaded,omitempty"`
	MapProof int64         `json:"mapProof,omitempty"` // bytes of the longest
}

// Rate is how many calls were answered in a second.
func (s *Summary) Rate() float64 { return float64(s.Calls) / s.Elapsed.Seconds() }

// serveJobs puts the loads that come in on the service at a URL.
func serveJobs(ctx context.Context, url string, in io.Reader, out io.Writer) error {
	lines := newLines(ctx, in)
	var setup Setup
	if err := lines.next(&setup); err != nil {
		return fmt.Errorf("reading who is to call: %w", err)
	}
	r, err := newRemote(url, setup)
	if err != nil {
		return err
	}
	for {
		var job Job
		if err := lines.next(&job); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("reading what to do: %w", err)
		}
		s, err := r.run(ctx, job, lines)
		if err != nil {
			s = &Summary{Error: err.Error()}
		}
		if err := json.NewEncoder(out).Encode(s); err != nil {
			return fmt.Errorf("telling what came of a job: %w", err)
		}
	}
}

// inLines are lines as they come in; the channel closes at their end.
type inLines struct {
	ctx  context.Context
	each chan []byte
}

// newLines begins to read, until the end of the input. That is the process's
// standard input, so nobody waits for a read that goes on when ctx has ended.
func newLines(ctx context.Context, in io.Reader) *inLines {
	l := &inLines{ctx: ctx, each: make(chan []byte)}
	go func() {
		defer close(l.each)
		for r := bufio.NewReader(in); ; {
			line, err := r.ReadBytes('\n')
			if err != nil {
				return
			}
			select {
			case l.each <- line:
			case <-ctx.Done():
				return
			}
		}
	}()
	return l
}

func (l *inLines) next(to any) error {
	select {
	case line, ok := <-l.each:
		if !ok {
			return io.EOF
		}
		return json.Unmarshal(line, to)
	case <-l.ctx.Done():
		return l.ctx.Err()
	}
}
