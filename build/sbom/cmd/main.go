// Command cmd writes the software bill of materials of Sluice's binary.
package main

import (
	"flag"
	"fmt"
	"os"

	"github.com/sluice-gateway/sluice/build/sbom"
)

func main() {
	binary := flag.String("binary", "bin/sluice", "the binary")
	out := flag.String("out", "bin/sluice.cdx.json", "the file to write")
	version := flag.String("version", "dev", "the version of the binary")
	flag.Parse()
	if err := write(*binary, *version, *out); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(*out)
}

func write(binary, version, out string) error {
	licenses, err := sbom.Licenses(".", "./cmd/sluice")
	if err != nil {
		return err
	}
	text, err := sbom.Write(binary, version, licenses)
	if err != nil {
		return err
	}
	return os.WriteFile(out, text, 0o644) //nolint:gosec // it is for everybody
}
