package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/medledger/medledger/api/client"
	"github.com/medledger/medledger/events"
)

// bundle is a FHIR bundle that lives in the service.
type bundle struct {
	content, amended []byte
	identifiers      []client.Identifier

	patient, record, share events.ID
	version                client.RecordVersion
}

const fhir = "application/fhir+json"

// readBundles reads all bundles of a folder, each with the identifiers of its
// patient. Two are of hospitals and practitioners and have none: they get numbers
// of the clinic.
func readBundles(t *testing.T, folder string) []*bundle {
	files, err := filepath.Glob(filepath.Join(folder, "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	var list []*bundle
	for i, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal("a bundle cannot be read")
		}
		b := &bundle{content: content, identifiers: identifiersOf(t, content)}
		if len(b.identifiers) == 0 {
			b.identifiers = []client.Identifier{{System: "urn:example:clinic", Value: fmt.Sprint("infrastructure ", i)}}
		}
		b.amended = append(append([]byte(`{"addendum":"Seen.","document":`), content...), '}')
		list = append(list, b)
	}
	return list
}

func identifiersOf(t *testing.T, content []byte) (list []client.Identifier) {
	var parsed struct {
		Entry []struct {
			Resource json.RawMessage `json:"resource"`
		} `json:"entry"`
	}
	if err := json.Unmarshal(content, &parsed); err != nil {
		t.Fatal("a bundle is not JSON")
	}
	for _, e := range parsed.Entry {
		var p struct {
			ResourceType string              `json:"resourceType"`
			Identifier   []client.Identifier `json:"identifier"`
		}
		if err := json.Unmarshal(e.Resource, &p); err == nil && p.ResourceType == "Patient" {
			list = append(list, p.Identifier...)
		}
	}
	return list
}

// everyFifth is how many of the bundles are destroyed.
const everyFifth = 5

// TestBundles has every bundle go through the service: its patient is registered by
// the identifiers in it, it is stored, read back, amended, found, shared, and some
// are destroyed. Everybody verifies the log, and nothing of it is in the clear
// anywhere.
func TestBundles(t *testing.T) {
	records := bundles(t)
	var tr transcript
	dir := filepath.Join(t.TempDir(), "ledger")
	h, s := newHouse(t, &tr, dir)
	list := readBundles(t, records)
	patients := 0
	each(list, func(i int, b *bundle) { h.store(b) })
	each(list, func(i int, b *bundle) { h.use(b) })
	for i, b := range list {
		if len(b.identifiers) > 1 {
			patients++
		}
		if i%everyFifth == 0 {
			h.destroy(b)
		}
	}
	if patients < 80 {
		t.Errorf("%d patients with identifiers of theirs, want 80", patients)
	}
	h.offend(list)
	s.metrics()
	for _, b := range list[:10] {
		tr.must(t, "medverify", "receipt", "--vkey", filepath.Join(dir, "log.vkey"), keep(t, b.version.Receipt))
	}
	h.audited(s)
	s.stop()
	tr.must(t, "medverify", "audit", "--dir", dir, "--vkey", filepath.Join(dir, "log.vkey"))
	testNothingPersonal(t, records, []string{dir, dir + ".custody"}, tr.Bytes())
}

// each does something to all bundles, several at a time.
func each(list []*bundle, do func(int, *bundle)) {
	var wg sync.WaitGroup
	next := make(chan int)
	for range 8 {
		wg.Go(func() {
			for i := range next {
				do(i, list[i])
			}
		})
	}
	for i := range list {
		next <- i
	}
	close(next)
	wg.Wait()
}

// store registers the patient of a bundle and stores it.
func (h *house) store(b *bundle) {
	ctx := h.t.Context()
	var err error
	if b.patient, err = h.patient(b.identifiers...); err != nil {
		h.t.Errorf("registering a patient: %v", err)
		return
	}
	version, err := h.doctor.CreateRecord(ctx, client.NewRecord{
		Patient: b.patient, Kind: events.KindBundle, Confidentiality: events.Normal, ContentType: fhir,
	}, bytes.NewReader(b.content))
	if err != nil {
		h.t.Errorf("storing a bundle: %v", err)
		return
	}
	b.record, b.version = version.Record, *version
	h.verify(version.Done)
	for _, id := range b.identifiers {
		if found, err := h.clerk.FindPatient(ctx, id, ""); err != nil || found != b.patient {
			h.t.Errorf("a patient is not found by an identifier: %v, %v", found, err)
		}
	}
}

// use reads, amends, lists and shares a bundle.
func (h *house) use(b *bundle) {
	ctx, t := h.t.Context(), h.t
	content, err := h.nurse.Content(ctx, b.record, 0, events.PurposeTreatment)
	if err != nil {
		t.Errorf("reading a bundle: %v", err)
		return
	}
	got := new(bytes.Buffer)
	_, err = got.ReadFrom(content.Body)
	if err := errors.Join(err, content.Body.Close()); err != nil || !bytes.Equal(got.Bytes(), b.content) || content.ContentType != fhir {
		t.Errorf("a bundle is not read as it was stored: %s, %v", content.ContentType, err)
	}
	amended, err := h.doctor.Amend(ctx, b.record, fhir, bytes.NewReader(b.amended))
	if err != nil || amended.Version != 2 {
		t.Errorf("amending: %+v, %v", amended, err)
		return
	}
	h.verify(amended.Done)
	for version, want := range map[uint32][]byte{0: b.amended, 1: b.content, 2: b.amended} {
		if got, err := h.read(h.doctor, b.record, version, events.PurposeTreatment); err != nil || !bytes.Equal(got, want) {
			t.Errorf("version %d is not read as it was stored: %v", version, err)
		}
	}
	page, err := h.clerk.ListRecords(ctx, b.patient, client.RecordQuery{Kind: events.KindBundle})
	if err != nil || len(page.Records) != 1 || page.Records[0].Record != b.record || page.Records[0].Versions != 2 {
		t.Errorf("the list of records: %+v, %v", page, err)
	}
	shared, err := h.clerk.Share(ctx, b.record, client.ShareRequest{
		Recipient: h.insurer.id, Purpose: events.PurposePayment, Until: time.Now().Add(time.Hour),
	})
	if err != nil {
		t.Errorf("sharing: %v", err)
		return
	}
	b.share = shared.ID
	h.receive(b)
}

// receive fetches what is shared, and acknowledges it.
func (h *house) receive(b *bundle) {
	ctx := h.t.Context()
	content, err := h.insurer.Receive(ctx, b.share)
	if err != nil {
		h.t.Errorf("receiving: %v", err)
		return
	}
	got := new(bytes.Buffer)
	_, err = got.ReadFrom(content.Body)
	if err := errors.Join(err, content.Body.Close()); err != nil || !bytes.Equal(got.Bytes(), b.amended) {
		h.t.Errorf("what is shared is not received as it was stored: %v", err)
	}
	acknowledged, err := h.insurer.Acknowledge(ctx, b.share)
	if err != nil {
		h.t.Errorf("acknowledging: %v", err)
		return
	}
	h.verify(*acknowledged)
}

// destroy destroys a bundle, which is its patient's only record.
func (h *house) destroy(b *bundle) {
	ctx, t := h.t.Context(), h.t
	asked, err := h.clerk.RequestDestruction(ctx, b.record, events.GroundRetentionEnded)
	if err != nil {
		t.Errorf("asking for a destruction: %v", err)
		return
	}
	destroyed, err := h.admin.ApproveDestruction(ctx, asked.ID)
	if err != nil || destroyed.Keys < 2 {
		t.Errorf("destroying: %+v, %v", destroyed, err)
		return
	}
	h.verify(destroyed.Done)
	for name, read := range map[string]func() error{
		"a doctor reads": func() error {
			_, err := h.read(h.doctor, b.record, 0, events.PurposeTreatment)
			return err
		},
		"a share is fetched": func() error {
			_, err := h.insurer.Receive(ctx, b.share)
			return err
		},
	} {
		if err := read(); !is(err, http.StatusGone) {
			t.Errorf("%s what is destroyed: %v, want 410", name, err)
		}
	}
	for _, id := range b.identifiers {
		if _, err := h.clerk.FindPatient(ctx, id, ""); !is(err, http.StatusNotFound) {
			t.Errorf("a patient whose last record is destroyed is found: %v", err)
		}
	}
}

// is reports whether an error is an answer with a status.
func is(err error, status int) bool {
	var answer *client.Error
	return errors.As(err, &answer) && answer.Status == status
}

// offend makes requests that hold personal data and must be refused: the answers
// are in the transcript.
func (h *house) offend(list []*bundle) {
	ctx, t := h.t.Context(), h.t
	for i, b := range list {
		if i%everyFifth == 0 {
			continue // destroyed: nobody knows them
		}
		id := b.identifiers[0]
		if _, err := h.clerk.RegisterPatient(ctx, b.identifiers); !is(err, http.StatusConflict) {
			t.Errorf("registering somebody twice: %v", err)
		}
		if _, err := h.auditor.FindPatient(ctx, id, ""); !is(err, http.StatusForbidden) {
			t.Errorf("an auditor looks somebody up: %v", err)
		}
		if _, err := h.clerk.FindPatient(ctx, client.Identifier{System: id.Value, Value: id.System}, ""); !is(err, http.StatusNotFound) {
			t.Errorf("looking nobody up: %v", err)
		}
		h.send(http.MethodPost, "/v1/patients", `{"identifiers":[],"`+id.Value+`":1}`, http.StatusBadRequest)
		h.send(http.MethodPost, "/v1/patients", `{"identifiers":"`+id.Value+`"}`, http.StatusBadRequest)
		h.send(http.MethodGet, "/v1/patients/"+strings.ReplaceAll(id.Value, " ", "%20")+"/records", "", http.StatusNotFound)
		h.send(http.MethodGet, "/"+strings.ReplaceAll(id.Value, " ", "%20"), "", http.StatusNotFound)
	}
}

// send makes a request as the clerk, past the client.
func (h *house) send(method, path, body string, want int) {
	request, err := http.NewRequestWithContext(h.t.Context(), method, h.clerk.URL+path, strings.NewReader(body))
	if err != nil {
		h.t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+h.clerk.Token)
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := h.clerk.HTTP.Do(request)
	if err != nil {
		h.t.Error(err)
		return
	}
	response.Body.Close()
	if response.StatusCode != want && !(want == http.StatusNotFound && response.StatusCode == http.StatusBadRequest) {
		h.t.Errorf("a %s is answered %d, want %d", method, response.StatusCode, want)
	}
}

// audited has all judges look at the served logs, and at an export of it.
func (h *house) audited(s *served) {
	t, vkey := h.t, filepath.Join(h.dir, "log.vkey")
	kept := filepath.Join(t.TempDir(), "checkpoint")
	log := []string{"audit", "--url", s.url, "--vkey", vkey}
	if output, exit := h.tr.run(t, "medverify", log...); exit != 2 {
		t.Errorf("medverify without a token: exit code %d\n%s", exit, output)
	}
	log = append(log, "--token-file", h.tokenFile)
	h.tr.must(t, "medverify", slices.Concat(log, []string{"--keep", kept})...)
	h.tr.must(t, "medverify", slices.Concat(log, []string{"--checkpoint", kept})...)
	export := filepath.Join(t.TempDir(), "log.export")
	h.tr.must(t, "medledger", "export", "--dir", h.dir, export)
	h.tr.must(t, "medverify", "audit", "--export", export, "--vkey", vkey, "--checkpoint", kept)
	h.tr.must(t, "medverify", "audit", "--dir", h.dir, "--vkey", vkey, "--checkpoint", kept)
	testOutsideJudges(t, s.url, h.dir, h.tokenFile)
}
