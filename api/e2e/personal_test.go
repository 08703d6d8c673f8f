package e2e

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// person is what a FHIR bundle says of somebody that names them.
type person struct {
	ResourceType string `json:"resourceType"`
	ID           string `json:"id"`
	Name         []struct {
		Family string   `json:"family"`
		Given  []string `json:"given"`
	} `json:"name"`
	Identifier []struct {
		Value string `json:"value"`
	} `json:"identifier"`
	Telecom []struct {
		Value string `json:"value"`
	} `json:"telecom"`
	Address []struct {
		Line []string `json:"line"`
		City string   `json:"city"`
	} `json:"address"`
	BirthDate string `json:"birthDate"`
}

// names returns everything in a bundle that names a patient or a practitioner.
func names(t *testing.T, bundle []byte) []string {
	t.Helper()
	var parsed struct {
		Entry []struct {
			Resource json.RawMessage `json:"resource"`
		} `json:"entry"`
	}
	if err := json.Unmarshal(bundle, &parsed); err != nil {
		t.Fatal("a bundle is not JSON")
	}
	var list []string
	for _, e := range parsed.Entry {
		var p person
		// Resources of other types may have members of the same names in other
		// forms.
		if err := json.Unmarshal(e.Resource, &p); err != nil || p.ResourceType != "Patient" && p.ResourceType != "Practitioner" {
			continue
		}
		list = append(list, p.ID)
		for _, n := range p.Name {
			list = append(append(list, n.Family), n.Given...)
		}
		for _, i := range p.Identifier {
			list = append(list, i.Value)
		}
		for _, c := range p.Telecom {
			list = append(list, c.Value)
		}
		for _, a := range p.Address {
			list = append(append(list, a.Line...), a.City)
		}
		list = append(list, p.BirthDate)
	}
	return list
}

// testNothingPersonal searches what the programs printed and the service answered,
// and every file of folders, for what names a patient, and the vaults for any
// content of a bundle.
func testNothingPersonal(t *testing.T, records string, dirs []string, printed []byte) {
	files, err := filepath.Glob(filepath.Join(records, "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	// In the tens of megabytes of a vault a word of five bytes may stand by
	// chance, one of eight does not.
	open, sealed := newSearch(5), newSearch(8)
	for _, file := range files {
		bundle, err := os.ReadFile(file)
		if err != nil {
			t.Fatal("a bundle cannot be read")
		}
		list := names(t, bundle)
		for _, name := range list {
			open.add(name)
			sealed.add(name)
		}
		for at := 0; at+32 <= len(bundle); at += len(bundle) / 16 {
			sealed.add(string(bundle[at : at+32]))
		}
		if !sealed.in(bundle) || len(list) > 0 && !open.in(bundle) {
			t.Fatal("the search does not find what is there")
		}
		open.add(strings.TrimSuffix(filepath.Base(file), ".json"))
	}
	if open.count < 10*len(files) {
		t.Errorf("only %d names in %d bundles: there is next to nothing to search for", open.count, len(files))
	}
	if open.in(printed) {
		t.Error("what names a patient was printed")
	}
	searched := 0
	for _, dir := range dirs {
		searched += searchFolder(t, dir, open, sealed)
	}
	t.Logf("searched %d MB for %d words and %d pieces of contents", searched>>20, open.count, sealed.count)
}

// searchFolder searches the names and the contents of all files of a folder and
// returns how many bytes that was.
func searchFolder(t *testing.T, dir string, open, sealed *search) (searched int) {
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		searched += len(content)
		s := open
		if slices.Contains(strings.Split(name, string(filepath.Separator)), "vault") {
			s = sealed
		}
		if open.in([]byte(name)) || s.in(content) {
			t.Errorf("%s holds what names a patient, or a content", name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return searched
}

// search looks for many words at once.
type search struct {
	least int
	begin [1 << 16]bool // the first two bytes of a word
	words map[uint32][][]byte
	count int
}

func newSearch(least int) *search { return &search{least: least, words: make(map[uint32][][]byte)} }

// add adds a word if it is long enough to name somebody. A short number, such as
// the running numbers of some practitioners, stands in every time of day.
func (s *search) add(word string) {
	if len(word) < s.least || len(word) < 8 && strings.Trim(word, "0123456789") == "" {
		return
	}
	w := []byte(word)
	s.begin[binary.BigEndian.Uint16(w)] = true
	key := binary.BigEndian.Uint32(w)
	s.words[key] = append(s.words[key], w)
	s.count++
}

// in reports whether any of the words stands in a text. A short one must stand by
// itself there: within a long row of letters and digits, such as base64, it is
// chance.
func (s *search) in(text []byte) bool {
	for i := 0; i+4 <= len(text); i++ {
		if !s.begin[binary.BigEndian.Uint16(text[i:])] {
			continue
		}
		for _, w := range s.words[binary.BigEndian.Uint32(text[i:])] {
			if bytes.HasPrefix(text[i:], w) && (len(w) >= 8 || alone(text, i, i+len(w))) {
				return true
			}
		}
	}
	return false
}

// alone reports whether neither a letter nor a digit adjoins text[from:to].
func alone(text []byte, from, to int) bool {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	return (from == 0 || strings.IndexByte(letters, text[from-1]) < 0) &&
		(to == len(text) || strings.IndexByte(letters, text[to]) < 0)
}
