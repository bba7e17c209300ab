package image

import (
	"errors"
	"io/fs"
	"os"
)

// Repository is the name of Sluice's own image, without a tag.
const Repository = "sluice-gateway/sluice"

// NonRoot is the user that images run as: the number that distroless images use.
const NonRoot = "65532"

// SBOM is where the bill of materials of the program lies in an image, under a name that scanners look for.
const SBOM = "/usr/share/doc/sluice/sbom.cdx.json"

// Base returns what programs expect of any image: a folder for temporary files, the users root and nonroot, and the
// certificate authorities that this machine trusts, if it has the file of Debian.
func Base() ([]File, error) {
	files := []File{
		{Path: "/tmp", Mode: 0o1777},
		{
			Path: "/etc/passwd", Mode: 0o644,
			Text: "root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n",
		},
		{Path: "/etc/group", Mode: 0o644, Text: "root:x:0:\nnonroot:x:65532:\n"},
	}
	const trusted = "/etc/ssl/certs/ca-certificates.crt"
	switch _, err := os.Stat(trusted); {
	case err == nil:
		files = append(files, File{Path: trusted, Source: trusted, Mode: 0o644})
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	return files, nil
}

// Product returns Sluice's image: the static binary, as a user without rights.
func Product(binary, tag, architecture string) (Image, error) {
	files, err := Base()
	if err != nil {
		return Image{}, err
	}
	return Image{
		Name: Repository + ":" + tag, Architecture: architecture,
		Entrypoint: []string{"/usr/local/bin/sluice"}, Cmd: []string{"serve"}, User: NonRoot + ":" + NonRoot,
		Labels: map[string]string{
			"org.opencontainers.image.title":   "sluice",
			"org.opencontainers.image.version": tag,
		},
		Files:    append(files, File{Path: "/usr/local/bin/sluice", Source: binary}),
		Compress: true,
	}, nil
}
