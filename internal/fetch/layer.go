package fetch

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
)

// moduleFile is the file with the module in a layer that is an archive (Wasm Image Specification, compat variant).
const moduleFile = "plugin.wasm"

// The media types of layers: those that are a module (Wasm Image Specification, OCI variant; CNCF Wasm OCI artifacts),
// and those that are archives.
var (
	moduleTypes = []string{
		"application/vnd.module.wasm.content.layer.v1+wasm", "application/vnd.wasm.content.layer.v1+wasm", "application/wasm",
	}
	archiveTypes = []string{
		"application/vnd.oci.image.layer.v1.tar", "application/vnd.oci.image.layer.v1.tar+gzip",
		"application/vnd.docker.image.rootfs.diff.tar.gzip",
	}
)

// wasmLayer returns the layer that has the module: the first that is one, else the last one.
func wasmLayer(layers []descriptor) (descriptor, error) {
	if len(layers) == 0 {
		return descriptor{}, errors.New("the image has no layers")
	}
	at := slices.IndexFunc(layers, func(d descriptor) bool { return slices.Contains(moduleTypes, d.MediaType) })
	if at < 0 {
		at = len(layers) - 1
		if kind := layers[at].MediaType; !slices.Contains(archiveTypes, kind) {
			return descriptor{}, fmt.Errorf("the last layer of the image is of type %q, which is neither a Wasm module nor an "+
				"archive with %s", kind, moduleFile)
		}
	}
	return checkDigest(layers[at])
}

// unpack returns the module in a layer.
func unpack(blob []byte, mediaType string, limit int64) ([]byte, error) {
	if slices.Contains(moduleTypes, mediaType) {
		return blob, nil
	}
	var archive io.Reader = bytes.NewReader(blob)
	if strings.HasSuffix(mediaType, "gzip") {
		plain, err := gzip.NewReader(archive)
		if err != nil {
			return nil, errors.New("the layer of the image is not compressed as it says")
		}
		archive = plain
	}
	// Everything before the module is unpacked too, and counts.
	files := tar.NewReader(io.LimitReader(archive, limit))
	for {
		file, err := files.Next()
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, fmt.Errorf("there is no %s in the first %d bytes of the image's layer", moduleFile, limit)
		}
		if err != nil {
			return nil, errors.New("the layer of the image is no archive")
		}
		if path.Base(file.Name) != moduleFile || file.Typeflag != tar.TypeReg {
			continue
		}
		// The size that an archive claims is no reason to make room for it.
		data, err := io.ReadAll(files)
		if err != nil {
			return nil, fmt.Errorf("%s in the image is damaged, or larger than %d bytes", moduleFile, limit)
		}
		return data, nil
	}
}

// digestOf returns the digest by which registries name a content.
func digestOf(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}
