package style

// maxExceptions is how many exceptions there are. It may only be lowered.
const maxExceptions = 0

// exception lets one finding be.
type exception struct {
	rule, path, subject string
	// why is the reason, and what would have to be different.
	why string
}

// exceptions are the findings that are known and let be. The test fails for one that finds nothing any more.
var exceptions = []exception{}

// excepted returns the index of the exception for a finding, or -1.
func excepted(rule string, f Finding) int {
	for i, e := range exceptions {
		if e.rule == rule && e.path == f.Path && e.subject == f.Subject {
			return i
		}
	}
	return -1
}
