package medverify

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/medledger/medledger/verifier/receipt"
)

// receipt is 'medverify receipt'.
func (r *run) receipt(args []string) (int, error) {
	set := flag.NewFlagSet("receipt", flag.ContinueOnError)
	set.SetOutput(io.Discard)
	vkey := set.String("vkey", "", "")
	if err := set.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return r.print(receiptUsage)
		}
		return CouldNotCheck, fmt.Errorf("%w; %w", err, errUsage)
	}
	if set.NArg() != 1 {
		return CouldNotCheck, fmt.Errorf("name one receipt; %w", errUsage)
	}
	v, err := verifier(*vkey)
	if err != nil {
		return CouldNotCheck, err
	}
	text, err := readReceipt(set.Arg(0))
	if err != nil {
		return CouldNotCheck, fmt.Errorf("reading the receipt: %w", err)
	}
	parsed, err := receipt.Parse(text)
	if err != nil {
		return r.falseReceipt(err)
	}
	verified, err := receipt.Verify(parsed, v)
	if errors.Is(err, receipt.ErrPromised) {
		return CouldNotCheck, err
	}
	if err != nil {
		return r.falseReceipt(err)
	}
	return r.print(goodReceipt(verified))
}

func readReceipt(name string) ([]byte, error) {
	if name == "-" {
		return readAll(os.Stdin, "standard input", receipt.MaxSize)
	}
	data, err := readFile(name, receipt.MaxSize)
	if errors.Is(err, fs.ErrNotExist) && strings.HasPrefix(name, "-") {
		return nil, fmt.Errorf("%w; options come before the receipt", err)
	}
	return data, err
}

func (r *run) falseReceipt(err error) (int, error) {
	text := "FOUND FALSE\n\n" + wrap("the receipt does not verify: "+err.Error(), 2)
	if _, err := io.WriteString(r.stdout, text); err != nil {
		return FoundFalse, fmt.Errorf("writing the result: %w", err)
	}
	return FoundFalse, nil
}

func goodReceipt(v *receipt.Verified) string {
	var t table
	t.row("origin", v.Event.Source)
	t.row("event", v.Event.ID.String())
	t.row("type", string(v.Event.Type))
	t.row("subject", v.Event.Subject.String())
	t.row("time", v.Event.Time.String())
	t.row("index", count(v.Index))
	t.row("checkpoint", fmt.Sprintf("of %s events, root %s", count(v.Checkpoint.Size), v.Checkpoint.Root))
	return "VERIFIED: the event was signed and is in the log.\n\n" + t.String()
}
