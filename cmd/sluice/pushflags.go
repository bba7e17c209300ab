package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/sluice-gateway/sluice/internal/xds"
)

// pushFlags are the flags about how Envoys are told of changes.
type pushFlags struct {
	grace                 time.Duration
	hostsFrom, scopesFrom int
}

func (f *pushFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.DurationVar(&f.grace, "removal-grace", xds.DefaultGrace,
		"How long a backend that nothing uses any more is kept")
	flags.IntVar(&f.hostsFrom, "vhds-from", xds.DefaultHostsFrom, "Send the hosts of a route table one by one to Envoys "+
		"that are new to it, from so many hosts on; 0 sends each table as a whole")
	flags.IntVar(&f.scopesFrom, "srds-from", xds.DefaultScopesFrom, "Divide the hosts of a route table among 16, so that "+
		"a change costs Envoy a part of it, from so many hosts on; 0 divides none")
}

// options returns what the flags say to the xDS server.
func (f *pushFlags) options() xds.Options {
	o := xds.Options{Grace: f.grace, HostsFrom: f.hostsFrom, ScopesFrom: f.scopesFrom}
	// There 0 is the default.
	if o.HostsFrom == 0 {
		o.HostsFrom = -1
	}
	if o.ScopesFrom == 0 {
		o.ScopesFrom = -1
	}
	return o
}
