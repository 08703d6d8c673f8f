package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxFile bounds the file. All settings with comments take a twentieth of it.
const maxFile = 64 << 10

// fileName is the file that was named, and by what; or "".
func (s Sources) fileName() (name, origin string) {
	if f := s.Flags.Lookup("config"); f != nil && f.Changed {
		return f.Value.String(), "flag --config"
	}
	name, _ = s.LookupEnv("MEDLEDGER_CONFIG")
	return name, "environment MEDLEDGER_CONFIG"
}

func (s Sources) file() ([]value, error) {
	name, origin := s.fileName()
	if name == "" {
		return nil, nil
	}
	f, err := s.Open(name)
	if err != nil {
		return nil, fmt.Errorf("reading the configuration (%s): %w", origin, err)
	}
	defer f.Close() // it was only read
	raw, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("reading the configuration (%s): %w", origin, err)
	}
	return parseFile(shown(name), raw)
}

// shown is a file's name as it stands in messages and comments.
func shown(name string) string {
	if printable(name) != nil {
		return strconv.Quote(name)
	}
	return name
}

// parseFile returns what the file sets. Its error has everything that is wrong
// with the file's form.
func parseFile(name string, raw []byte) ([]value, error) {
	if len(raw) > maxFile {
		return nil, fmt.Errorf("%s has more than %d bytes; is it the right file?", name, maxFile)
	}
	d := yaml.NewDecoder(bytes.NewReader(raw))
	var document, second yaml.Node
	err := d.Decode(&document)
	if errors.Is(err, io.EOF) {
		return nil, nil // nothing but comments
	}
	if err != nil {
		return nil, fmt.Errorf("%s is no YAML: %s", name, strings.TrimPrefix(err.Error(), "yaml: "))
	}
	if err := d.Decode(&second); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s goes on after its first document; leave only one", name)
	}
	mapping := document.Content[0]
	if mapping.Kind != yaml.MappingNode || !plain(mapping) {
		return nil, fmt.Errorf("%s:%d: want lines of the form 'name: value'; names are %s", name, mapping.Line, names())
	}
	var values []value
	var errs []error
	seen := make(map[string]int)
	for i := 0; i < len(mapping.Content); i += 2 {
		key, node := mapping.Content[i], mapping.Content[i+1]
		v, err := parseEntry(key, node)
		if first := seen[key.Value]; err == nil && first > 0 {
			err = fmt.Errorf("%s is set in line %d already; leave one of them", key.Value, first)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s:%d: %w", name, key.Line, err))
			continue
		}
		seen[key.Value] = key.Line
		v.origin = fmt.Sprintf("%s:%d", name, key.Line)
		values = append(values, v)
	}
	return values, errors.Join(errs...)
}

func parseEntry(key, node *yaml.Node) (v value, err error) {
	if key.Kind != yaml.ScalarNode || !plain(key) {
		return v, fmt.Errorf("this is no name of a setting; allowed are %s", names())
	}
	v.setting, v.text = find(key.Value), node.Value
	switch {
	case v.setting == nil:
		return v, fmt.Errorf("there is no setting %q; allowed are %s", key.Value, names())
	case node.Kind != yaml.ScalarNode || !plain(node):
		return v, fmt.Errorf("%s wants one plain value: no list, mapping, anchor, alias or tag", key.Value)
	case node.Tag == "!!null":
		return v, fmt.Errorf(`%s has no value; give one ("" for none), or remove the line`, key.Value)
	}
	return v, nil
}

// plain reports whether a node has neither anchor nor tag.
func plain(n *yaml.Node) bool { return n.Anchor == "" && n.Style&yaml.TaggedStyle == 0 }
