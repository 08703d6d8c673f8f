// Package deploy has no code: its folder is what brings medledger to those who
// run it, and its tests hold that against the program.
//
//	release.sh   builds the binaries that are handed out
//	small/       one PC in a clinic: systemd unit, settings, what to do
//	token/       keys in a PKCS #11 token beside it: the helper's unit, what to do
package deploy
