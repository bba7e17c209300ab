package file

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/sluice-gateway/sluice/internal/resource"
)

const (
	// Input is the path that stands for standard input, as kubectl has it.
	Input = "-"
	// inputName is what standard input is called where a file has a name.
	inputName = "<stdin>"
)

// errInput is why standard input cannot be read where files are watched.
var errInput = errors.New("configuration -: standard input cannot be watched for changes: name a file or a folder, " +
	"or ./- for a file of that name")

// readInput reads standard input to its end. It can wait for somebody who types, so it gives up when ctx ends.
func (s *Source) readInput(ctx context.Context) (*file, error) {
	f := &file{path: inputName}
	read := make(chan error, 1)
	var text bytes.Buffer
	go func() {
		_, err := text.ReadFrom(io.LimitReader(s.input, maxSize+1))
		read <- err
	}()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case err := <-read:
		switch {
		case err != nil:
			f.broken = fmt.Sprintf("cannot be read: %v", unwrapPath(err))
		case text.Len() > maxSize:
			f.broken = fmt.Sprintf("is larger than %d MiB: skipped", maxSize>>20)
		case len(bytes.TrimSpace(text.Bytes())) == 0:
			// The program that should have written it has most likely failed.
			f.broken = "is empty"
		default:
			f.split(text.Bytes(), s.before(f.path))
		}
	}
	s.decode([]*file{f})
	return f, nil
}

// formatOf returns the format of a file. Standard input has no name that tells it.
func formatOf(path string, content []byte) resource.Format {
	if path != inputName {
		return resource.FormatOf(path)
	}
	for values := json.NewDecoder(bytes.NewReader(content)); ; {
		var value json.RawMessage
		switch err := values.Decode(&value); {
		case errors.Is(err, io.EOF):
			return resource.JSON
		case err != nil:
			return resource.YAML
		}
	}
}
