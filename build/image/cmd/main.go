// Command cmd writes Sluice's container image from its static binary, without Docker.
package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime"

	"github.com/sluice-gateway/sluice/build/image"
)

func main() {
	binary := flag.String("binary", "bin/sluice", "the static binary")
	out := flag.String("out", "bin/sluice-image.tar", "the archive to write")
	tag := flag.String("tag", "dev", "the image's tag")
	bom := flag.String("sbom", "", "the binary's bill of materials, to go with it")
	architecture := flag.String("arch", runtime.GOARCH, "what the binary is for")
	flag.Parse()
	product, err := image.Product(*binary, *tag, *architecture)
	if *bom != "" {
		product.Files = append(product.Files, image.File{Path: image.SBOM, Source: *bom, Mode: 0o644})
	}
	if err == nil {
		err = write(product, *out)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Printf("%s: %s\n", *out, image.FullName(product.Name))
}

// write leaves no part of an archive behind under the final name.
func write(product image.Image, path string) (err error) {
	file, err := os.Create(path + ".new")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(path+".new"))
		}
	}()
	buffered := bufio.NewWriterSize(file, 1<<20)
	if err := errors.Join(product.Write(buffered), buffered.Flush(), file.Close()); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
