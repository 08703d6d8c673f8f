// Package softhsm gives tests on Linux a real PKCS #11 token, made by SoftHSM in a
// folder of its own, and the real helper process in front of it. Without SoftHSM or a
// C compiler a test that asks for one is skipped, or fails with
// MEDLEDGER_REQUIRE_SERVICES=1.
//
//	keys := softhsm.Start(t)           // a custody.Custody, for as long as the test
//	keys.Token.Objects                 // what a thief of the token's disk would have
//	keys.Kill(t); keys.Helper.Start(t) // a crash of the helper, and its restart
package softhsm
