// Package namespace runs code and programs in the Linux namespaces of another process, and keeps track of processes by
// control group, so that all of them can be found and ended whoever started them.
package namespace

import "errors"

// ErrUnsupported is returned where there are no Linux namespaces.
var ErrUnsupported = errors.New("this needs Linux namespaces")
