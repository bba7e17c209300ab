package main

import (
	"github.com/spf13/cobra"
)

// extensionFlags say what policies may bring that could read or take over what is not theirs.
type extensionFlags struct {
	lua bool
}

// register adds the flags that sluice run and sluice serve have in common. lua is whether scripts are allowed if
// nothing is said.
func (f *extensionFlags) register(cmd *cobra.Command, lua bool) {
	cmd.Flags().BoolVar(&f.lua, "enable-lua", lua,
		"Run the Lua scripts of EnvoyExtensionPolicies: they can read the files of the Envoy that runs them")
}
