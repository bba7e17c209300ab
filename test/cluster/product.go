package cluster

import (
	"context"
	"os"
	"path/filepath"
	"runtime"

	"github.com/sluice-gateway/sluice/build/image"
	"github.com/sluice-gateway/sluice/test/program"
)

// The tags of the image that LoadProduct loads: what upgrades to another tag are tried with is the same program.
const (
	ProductTag = "dev"
	NextTag    = "next"
)

// LoadProduct puts the image of Sluice on every node, as sluice-gateway/sluice:dev and :next: of the binary that
// $SLUICE_BINARY names, which must be static, or else of one that it builds. It returns the first name.
func (c *Cluster) LoadProduct(ctx context.Context) (name string, err error) {
	dir, err := os.MkdirTemp(c.Dir, "product-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // it goes with the cluster at the latest
	binary := filepath.Join(dir, "sluice")
	if os.Getenv("SLUICE_BINARY") != "" {
		binary, err = program.Binary(dir)
	} else {
		err = buildProgram(ctx, "github.com/sluice-gateway/sluice/cmd/sluice", binary)
	}
	if err != nil {
		return "", err
	}
	product, err := image.Product(binary, ProductTag, runtime.GOARCH)
	if err != nil {
		return "", err
	}
	product.Aliases = []string{image.Repository + ":" + NextTag}
	product.Compress = false // it is not sent anywhere
	archive := filepath.Join(dir, "sluice.tar")
	if err := WriteArchive(product, archive); err != nil {
		return "", err
	}
	return product.Name, c.Load(ctx, archive)
}
