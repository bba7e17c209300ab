// Package source is what the places have in common that configuration comes from: they deliver objects in batches.
package source

import (
	"time"

	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/resource"
)

// Object is a valid object and where it was read.
type Object struct {
	Ref    model.Ref
	Object resource.Object
	// File is the path as the user named it, empty if it does not come from a file; Line is where the object starts
	// in it, counted from 1. They are those of when the object last changed: moving it within a file is no change.
	File string
	Line int
}

// Batch is what changed in a source since the batch before, applied as a whole.
type Batch struct {
	// Set are the objects that are new or differ from what was delivered before, by reference.
	Set []Object
	// Delete are the objects that are gone, by reference.
	Delete []model.Ref
	// Problems and Notices are the complete lists as of now, not the changes, by position.
	Problems []resource.Problem
	Notices  []resource.Notice
	// Noticed is when the earliest event that led to the batch was seen.
	Noticed time.Time
}
