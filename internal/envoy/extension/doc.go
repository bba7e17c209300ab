// Package extension makes all messages of Envoy's extensions known to the program: what users write as JSON, in an
// EnvoyPatchPolicy or a bootstrap, can be any of them. Nothing else is in it: import it for that effect.
package extension

//go:generate go test -run ^TestImports$ . -update
