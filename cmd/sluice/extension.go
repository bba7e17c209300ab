package main

import (
	"github.com/spf13/cobra"
)

// extensionFlags say what policies may bring that could read or take over what is not theirs.
type extensionFlags struct {
	lua, patches bool
}

// register adds the flags that sluice run and sluice serve have in common. allowed is whether scripts and patches are
// if nothing is said.
func (f *extensionFlags) register(cmd *cobra.Command, allowed bool) {
	cmd.Flags().BoolVar(&f.lua, "enable-lua", allowed,
		"Run the Lua scripts of EnvoyExtensionPolicies: they can read the files of the Envoy that runs them")
	cmd.Flags().BoolVar(&f.patches, "enable-envoy-patch-policy", allowed,
		"Apply EnvoyPatchPolicies: they can have Envoy do all that it can, and read its files")
}
