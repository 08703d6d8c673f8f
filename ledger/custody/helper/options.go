package helper

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os/user"
	"strconv"
)

const usage = `medledger-token keeps the root keys of a medledger in a PKCS #11 token and
serves them on a local socket.

Usage:
  medledger-token --module FILE (--token-label L | --slot N) --pin-file FILE
                  [--socket PATH] [--allow-uid USER]... [--group GROUP]
  medledger-token --check --module FILE (--token-label L | --slot N)
                  --pin-file FILE

The token:
  --module FILE      the PKCS #11 library of the token's vendor
  --token-label L    the token's label
  --slot N           its slot, where two tokens have one label
  --pin-file FILE    a file with the user's PIN and nothing else, of mode 0600;
                     the PIN is tried once and never again

The socket:
  --socket PATH      where to serve (default /run/medledger-token/socket); its
                     folder is made with mode 0700, the socket with 0600
  --allow-uid USER   a user, by number or name, who may use the keys besides
                     root and the helper's own; may be given again
  --group GROUP      a group that may reach the socket (0750 and 0660); only
                     users who are allowed are served all the same

  --check            tell whether the token is usable: log in, look for what is
                     needed, make, use and destroy a trial key

It prints one line when it is ready, and stops on SIGTERM. It writes no PIN and
no key anywhere, and forbids images of its memory.

Exit status:
  0  stopped as asked, or the token is usable
  1  failed; the message says what to do
  2  the arguments make no sense
  3  the PIN was not accepted; do not start it again before that is mended
`

var errHelp = errors.New("help was asked for")

const defaultSocket = "/run/medledger-token/socket"

// options are the arguments.
type options struct {
	module, label, pinFile, socket string
	slot                           *uint
	allow                          []uint32
	group                          uint32
	check                          bool
}

func parse(args []string) (*options, error) {
	o := &options{}
	f := flag.NewFlagSet("medledger-token", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.StringVar(&o.module, "module", "", "")
	f.StringVar(&o.label, "token-label", "", "")
	f.StringVar(&o.pinFile, "pin-file", "", "")
	f.StringVar(&o.socket, "socket", defaultSocket, "")
	f.BoolVar(&o.check, "check", false, "")
	f.Func("slot", "", func(s string) error {
		n, err := strconv.ParseUint(s, 10, 32)
		slot := uint(n)
		o.slot = &slot
		return err
	})
	f.Func("allow-uid", "", func(s string) error {
		id, err := userID(s)
		o.allow = append(o.allow, id)
		return err
	})
	f.Func("group", "", func(s string) (err error) {
		o.group, err = groupID(s)
		return err
	})
	switch err := f.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return nil, errHelp
	case err != nil:
		return nil, err
	case f.NArg() > 0:
		// It may be a PIN: it is not repeated.
		return nil, errors.New("there is an argument that belongs to no option")
	case o.module == "":
		return nil, errors.New("--module is missing: name the PKCS #11 library")
	case (o.label == "") == (o.slot == nil):
		return nil, errors.New("name the token by either --token-label or --slot")
	case o.pinFile == "":
		return nil, errors.New("--pin-file is missing: name the file with the PIN")
	}
	return o, nil
}

func userID(s string) (uint32, error) {
	if id, err := strconv.ParseUint(s, 10, 32); err == nil {
		return uint32(id), nil
	}
	u, err := user.Lookup(s)
	if err != nil {
		return 0, err
	}
	id, err := strconv.ParseUint(u.Uid, 10, 32)
	return uint32(id), err
}

func groupID(s string) (uint32, error) {
	if id, err := strconv.ParseUint(s, 10, 32); err == nil && id != 0 {
		return uint32(id), nil
	}
	g, err := user.LookupGroup(s)
	if err != nil {
		return 0, err
	}
	id, err := strconv.ParseUint(g.Gid, 10, 32)
	if err == nil && id == 0 {
		err = fmt.Errorf("group %s is root's, who needs none", s)
	}
	return uint32(id), err
}
