package demo

import (
	"embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/medledger/medledger/events"
)

// document is what a record holds. It is read whenever it is needed: a folder of
// them may be larger than memory.
type document struct {
	kind events.Kind
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
		docs = append(docs, document{events.KindBundle, original, addendum(original), info.Size()})
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

func bundledDocuments() ([]document, error) {
	read := func(name string) func() ([]byte, error) {
		return func() ([]byte, error) { return bundled.ReadFile("records/" + name + ".json") }
	}
	var docs []document
	for _, d := range []struct {
		name string
		kind events.Kind
	}{
		{"prescription", events.KindPrescription}, {"discharge", events.KindChart},
		{"laboratory", events.KindLaboratory}, {"radiology", events.KindRadiology},
		{"nursing", events.KindNursing}, {"certificate", events.KindCertificate},
	} {
		content, err := read(d.name)()
		if err != nil {
			return nil, fmt.Errorf("reading a bundled document: %w", err)
		}
		docs = append(docs, document{d.kind, read(d.name), addendum(read(d.name)), int64(len(content))})
	}
	docs[0].amended = read("prescription.corrected")
	return docs, nil
}

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
