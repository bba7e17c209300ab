package local

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"regexp"
	"time"
)

const (
	connectTimeout = 15 * time.Second
	headerTimeout  = 30 * time.Second
)

var checksumPattern = regexp.MustCompile(`^[0-9a-f]{64}$`)

// download gets the binary that the Envoy project publishes into work and returns it, verified, with its checksum.
func (c catalog) download(ctx context.Context, work string, o InstallOptions) (file, sum string, err error) {
	switch {
	case c.release == "":
		return "", "", fmt.Errorf("the Envoy project publishes no binary for %s", c.platform)
	case o.Checksum == "":
		return "", "", fmt.Errorf("%s: %w, and what cannot be verified is not installed: take its SHA-256 from the signed "+
			"checksums.txt.asc of the same release and give it with --checksum", c.release, ErrNoChecksum)
	case !checksumPattern.MatchString(o.Checksum):
		return "", "", fmt.Errorf("%q is not a SHA-256: it has 64 hexadecimal digits", o.Checksum)
	}
	o.Log("downloading " + c.release)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.release, nil)
	if err != nil {
		return "", "", err
	}
	response, err := releaseClient().Do(request)
	if err != nil {
		return "", "", explainDownload(err)
	}
	defer response.Body.Close() //nolint:errcheck // read to its end, or the error is already known
	if response.StatusCode != http.StatusOK {
		return "", "", fmt.Errorf("download %s: status %s", c.release, response.Status)
	}
	file = filepath.Join(work, binaryName)
	sum, err = writeFile(file, response.Body, maxBinary)
	if err != nil {
		return "", "", fmt.Errorf("download %s: %w", c.release, err)
	}
	if sum != o.Checksum {
		return "", "", fmt.Errorf("%s has the SHA-256 %s and should have %s: it is not installed", c.release, sum, o.Checksum)
	}
	return file, sum, nil
}

// releaseClient has no timeout for the whole: a slow line may take as long as its user likes. What does not answer is
// given up soon.
func releaseClient() *http.Client {
	return &http.Client{Transport: &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: connectTimeout}).DialContext,
		TLSHandshakeTimeout:   connectTimeout,
		ResponseHeaderTimeout: headerTimeout,
		ForceAttemptHTTP2:     true,
		DisableKeepAlives:     true,
	}}
}

func explainDownload(err error) error {
	var dns *net.DNSError
	if errors.As(err, &dns) {
		return fmt.Errorf("the name %s cannot be resolved; is there a network? %w", dns.Name, err)
	}
	return err
}
