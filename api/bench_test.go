package api_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"

	"github.com/medledger/medledger/api"
	"github.com/medledger/medledger/api/client"
	"github.com/medledger/medledger/events"
)

// BenchmarkBatch posts batches of 100 records of 1 KiB. An operation is a record.
func BenchmarkBatch(b *testing.B) {
	c := newClinic(b, api.Limits{})
	item := client.BatchItem{
		Patient: c.patient, Kind: events.KindChart, Confidentiality: events.Normal,
		ContentType: "application/octet-stream", Content: bytes.Repeat([]byte{7}, 1024),
	}
	batch := client.Batch{}
	for range 100 {
		batch.Records = append(batch.Records, item)
	}
	body, err := json.Marshal(batch)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.SetParallelism(4)
	b.RunParallel(func(pb *testing.PB) {
		for n := 1; pb.Next(); n++ {
			if n%100 != 0 {
				continue
			}
			if err := post(c, "/v1/records:batch", "application/json", body); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// BenchmarkCreate posts single records of 1 KiB.
func BenchmarkCreate(b *testing.B) {
	c := newClinic(b, api.Limits{})
	body := bytes.Repeat([]byte{7}, 1024)
	target := "/v1/records?kind=chart&confidentiality=N&patient=" + c.patient.String()
	b.ReportAllocs()
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := post(c, target, "application/octet-stream", body); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

func post(c *clinic, target, contentType string, body []byte) error {
	r, err := http.NewRequest("POST", c.url+target, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+c.as(events.RoleClinician).Token)
	r.Header.Set("Content-Type", contentType)
	response, err := benchClient.Do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err := bytes.NewBuffer(nil).ReadFrom(response.Body); err != nil {
		return err
	}
	if response.StatusCode/100 != 2 {
		return fmt.Errorf("status %d", response.StatusCode)
	}
	return nil
}

var benchClient = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 128}}
