#!/usr/bin/env bash
# Builds the binaries that are handed out, into a folder: bash deploy/release.sh OUT
#
# They are static and reproducible: the same commit and the same Go give the same
# bytes on every machine and in every folder, so that whoever doubts a binary can
# build it again and compare SHA256SUMS. A tree with uncommitted changes builds
# too; 'medledger version' then says +dirty.
set -euo pipefail
[ $# -eq 1 ] || { echo "name the folder to build into: bash deploy/release.sh OUT" >&2; exit 2; }
mkdir -p "$1"
out=$(cd "$1" && pwd)
cd "$(dirname "$0")/.."
# medledger-token is not among them: it needs cgo, and with it the C library of the
# machine that it runs on. deploy/token/README.md says how it is built there.
# What a builder has set for himself must not show in the result.
export CGO_ENABLED=0 GOFLAGS=-mod=readonly GOEXPERIMENT= GOAMD64=v1 GOARM64=v8.0 GOWORK=off
for platform in ${PLATFORMS:-linux/amd64 linux/arm64 windows/amd64 darwin/arm64}; do
  export GOOS=${platform%/*} GOARCH=${platform#*/}
  suffix=""
  [ "$GOOS" != windows ] || suffix=.exe
  go build -trimpath -ldflags='-s -w -buildid=' -o "$out/medledger-$GOOS-$GOARCH$suffix" .
  go build -trimpath -ldflags='-s -w -buildid=' -o "$out/medverify-$GOOS-$GOARCH$suffix" ./verifier/cmd/medverify
done
cd "$out"
LC_ALL=C sha256sum med{ledger,verify}-* >SHA256SUMS
