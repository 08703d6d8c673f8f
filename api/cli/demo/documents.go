package demo

import (
	"embed"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"

	"github.com/medledger/medledger/events"
)

// document is what a record holds. It is read whenever it is needed: a folder of
// them may be larger than memory.
type document struct {
	kind        events.Kind
	contentType string
	// original is the first version, amended the second.
	original, amended func() ([]byte, error)
	// size is the original's, in bytes.
	size int64
}

// The documents that the demo brings along. Everybody in them is invented.
//
//go:embed records/*.json
var bundled embed.FS

// documents returns the files of a folder, or the bundled documents if the
// folder is "".
func documents(folder string) ([]document, error) {
	if folder == "" {
		return bundledDocuments()
	}
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, fmt.Errorf("looking for records: %w; name a folder of FHIR bundles with --records", err)
	}
	var docs []document
	for _, entry := range entries {
		if filepath.Ext(entry.Name()) != ".json" || !entry.Type().IsRegular() {
			continue
		}
		number, file := len(docs)+1, filepath.Join(folder, entry.Name())
		original := func() ([]byte, error) {
			content, err := os.ReadFile(file)
			if err != nil {
				return nil, fmt.Errorf("reading record %d of the folder: %w", number, withoutPath(err))
			}
			return content, nil
		}
		info, err := entry.Info()
		if err != nil {
			return nil, fmt.Errorf("looking at record %d of the folder: %w", number, withoutPath(err))
		}
		docs = append(docs, document{events.KindBundle, contentType, original, addendum(original), info.Size()})
	}
	if len(docs) == 0 {
		return nil, fmt.Errorf("%s has no *.json file; name a folder of FHIR bundles with --records", folder)
	}
	return docs, nil
}

// withoutPath takes the file's name, which may be a patient's, out of an error.
func withoutPath(err error) error {
	var path *os.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

// bundledDocument is one that the demo brings along.
func bundledDocument(name string, kind events.Kind) (document, error) {
	original := func() ([]byte, error) { return bundled.ReadFile("records/" + name + ".json") }
	content, err := original()
	if err != nil {
		return document{}, fmt.Errorf("reading a bundled document: %w", err)
	}
	return document{kind, contentType, original, addendum(original), int64(len(content))}, nil
}

func bundledDocuments() ([]document, error) {
	var docs []document
	for _, d := range []struct {
		name string
		kind events.Kind
	}{
		{"prescription", events.KindPrescription}, {"laboratory", events.KindLaboratory},
		{"radiology", events.KindRadiology}, {"nursing", events.KindNursing},
		{"certificate", events.KindCertificate},
	} {
		document, err := bundledDocument(d.name, d.kind)
		if err != nil {
			return nil, err
		}
		docs = append(docs, document)
	}
	docs[0].amended = func() ([]byte, error) { return bundled.ReadFile("records/prescription.corrected.json") }
	return docs, nil
}

// furtherDocuments are those that the story itself needs.
func furtherDocuments() (image, letter, visit document, err error) {
	if letter, err = bundledDocument("discharge", events.KindChart); err != nil {
		return image, letter, visit, err
	}
	visit, err = bundledDocument("visit", events.KindChart)
	noise := func() ([]byte, error) {
		b := make([]byte, imageSize)
		rand.NewChaCha8([32]byte{}).Read(b) // never fails
		return b, nil
	}
	return document{events.KindRadiology, "application/octet-stream", noise, noise, imageSize}, letter, visit, err
}

// imageSize is enough that no network on the way holds the whole image.
const imageSize = 32 << 20

// addendum is a document with something added to it.
func addendum(original func() ([]byte, error)) func() ([]byte, error) {
	return func() ([]byte, error) {
		content, err := original()
		if err != nil {
			return nil, err
		}
		return append(append([]byte(`{"addendum":"Read and confirmed.","document":`), content...), '}'), nil
	}
}
