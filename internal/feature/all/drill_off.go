//go:build !drill

package all

import "github.com/sluice-gateway/sluice/internal/feature"

// drilled returns the features as they are: only a program that is built for drills has some that panic.
func drilled(features []feature.Feature) []feature.Feature { return features }
