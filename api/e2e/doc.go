// Package e2e has end-to-end tests: they build the real binaries, medledger and
// medverify, and use them as their users do, with outside judges beside them.
// It has no code of its own. service_test.go is what the tests use the service by.
//
// The tests need the FHIR bundles in ../shared/data/fhir-r4 beside the checkout
// and are skipped without them, unless MEDLEDGER_REQUIRE_SERVICES=1 says that
// nothing may be missing.
package e2e
