package config

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

// columns is how wide help and comments may be.
const columns = 80

// AddFlags adds --config and a flag a setting.
func AddFlags(flags *pflag.FlagSet) {
	flags.String("config", "", "a YAML file with settings")
	for i := range table {
		flags.String(table[i].name, table[i].initial, table[i].help)
	}
}

// Usage explains the flags of AddFlags, for a command's help.
func Usage() string {
	var out strings.Builder
	row := func(flag, holder, help string) {
		const left = 26
		head := fmt.Sprintf("  %-*s", left-2, "--"+flag+" "+holder)
		for i, line := range wrapped(help, columns-left) {
			if i > 0 {
				head = strings.Repeat(" ", left)
			}
			fmt.Fprintf(&out, "%s%s\n", head, line)
		}
	}
	row("config", "FILE", "YAML file with settings; 'medledger config' prints one")
	for i := range table {
		row(table[i].name, table[i].holder, table[i].described())
	}
	return out.String()
}

// described is the help with the default.
func (s *setting) described() string {
	if s.initial == "" {
		return s.help
	}
	return fmt.Sprintf("%s (default %s)", s.help, s.initial)
}

// YAML is the settings in force, as a file with a comment a line that says where
// the value came from. Load makes the same Config of it.
func (c *Config) YAML() []byte {
	var out bytes.Buffer
	for i := range table {
		s := &table[i]
		fmt.Fprintf(&out, "%s: %s # %s\n", s.name, scalar(s.field(c).String()), c.origins[s.name])
	}
	return out.Bytes()
}

// Sample is a file to edit: every setting with its explanation, those that have
// their default as comments.
func (c *Config) Sample() []byte {
	var out bytes.Buffer
	comment := func(text string) {
		for _, line := range wrapped(text, columns-len("# ")) {
			fmt.Fprintf(&out, "# %s\n", line)
		}
	}
	comment("Settings of 'medledger serve'. A flag (--max-batch 500) counts more than the environment " +
		"(MEDLEDGER_MAX_BATCH=500), that more than this file, and this file more than the default, " +
		"which stands here behind a '#'. 'medledger config --config FILE' shows what is in force.")
	for i := range table {
		s := &table[i]
		out.WriteByte('\n')
		comment(fmt.Sprintf("%s (%s)", s.help, s.unit))
		mark := ""
		if c.origins[s.name] == "default" {
			mark = "#"
		}
		initial := s.field(c).String()
		if mark != "" {
			initial = s.initial // that of custody depends on dir
		}
		fmt.Fprintf(&out, "%s%s: %s\n", mark, s.name, scalar(initial))
	}
	return out.Bytes()
}

// scalar is a text as a YAML value in one line. Texts here are printable.
func scalar(text string) string {
	if text != "" && strings.Trim(text, "0123456789") == "" {
		return text // YAML would quote a text that looks like a number
	}
	raw, err := yaml.Marshal(&yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: text})
	line := strings.TrimSuffix(string(raw), "\n")
	if err != nil || strings.Contains(line, "\n") {
		// Every printable text has this form too.
		return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text) + `"`
	}
	return line
}

// wrapped breaks a text into lines of at most the width, at spaces.
func wrapped(text string, width int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines, line = append(lines, line), ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}
