// Package charts holds the Helm chart of Sluice, for `sluice install` to render what helm would.
package charts

import (
	"embed"
	"io/fs"
)

//go:generate go run ./gen

// Hidden files and those that begin with an underscore are part of a chart: "all:" takes them in.
//
//go:embed all:sluice
var files embed.FS

// Sluice is the folder of the chart.
func Sluice() fs.FS {
	sub, err := fs.Sub(files, "sluice")
	if err != nil { // the folder is embedded above
		panic(err)
	}
	return sub
}
