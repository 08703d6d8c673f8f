// Package softhsm gives tests a real PKCS #11 token, made by SoftHSM in a folder of
// its own, and the real helper process in front of it, on Linux. Without SoftHSM or a C compiler
// a test that asks for one is skipped, or fails with MEDLEDGER_REQUIRE_SERVICES=1.
package softhsm
