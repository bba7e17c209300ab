package ratelimit

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	commonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
)

// The entries of a descriptor with a meaning. Their values are made by the control plane: what a client sends comes
// under other keys, so that no request can say what its limit is.
const (
	// KeyRule is the name of the rule, for metrics; it is part of what tells counters apart.
	KeyRule = "sluice.dev/rule"
	// KeyRoute is the name of the Envoy route that the request took, KIND/NAMESPACE/NAME/RULE: what is counted for it is
	// counted for KIND/NAMESPACE/NAME.
	KeyRoute = "sluice.dev/route"
	// KeyLimit is the limit, in the form of [ParseLimit]. The descriptor's own limit, if it has one, holds in its place:
	// Envoy has found it in the metadata of the request. A descriptor without any limit is not counted.
	KeyLimit = "sluice.dev/limit"
	// KeyMode is one of the modes. There may be several.
	KeyMode = "sluice.dev/mode"
)

// The values of [KeyMode].
const (
	// ModeShadow counts and never refuses: [Hit.Shadow].
	ModeShadow = "shadow"
	// ModeCharge counts what has happened already, and never refuses: [Hit.Force].
	ModeCharge = "charge"
	// ModeTell has a request that passes told so in Envoy's dynamic metadata, under MetadataPassed: its response is
	// charged only then. A refused request has a response too, the refusal.
	ModeTell = "tell"
)

// MetadataPassed is the key of the metadata of a request that was let through, which then has the value "true".
const MetadataPassed = "sluice.dev/passed"

// Descriptor is what one descriptor of a request asks for.
type Descriptor struct {
	Hit
	// Rule is the value of KeyRule.
	Rule string
	// Tell is that of ModeTell.
	Tell bool
	// Counted says that there is a limit. Without it there is no hit.
	Counted bool
}

var errNoDomain = errors.New("the request has no domain")

// ParseRequest returns what the descriptors of a request ask for, in their order. An error says what is not understood:
// such a request was not made by a control plane of this version.
func ParseRequest(r *rlsv3.RateLimitRequest) ([]Descriptor, error) {
	if r.GetDomain() == "" {
		return nil, errNoDomain
	}
	cost := int64(1)
	if r.GetHitsAddend() > 0 {
		cost = int64(r.GetHitsAddend())
	}
	out := make([]Descriptor, len(r.GetDescriptors()))
	var scratch []byte
	for i, d := range r.GetDescriptors() {
		var err error
		if out[i], scratch, err = parse(r.GetDomain(), d, cost, scratch[:0]); err != nil {
			return nil, fmt.Errorf("descriptor %d: %w", i, err)
		}
	}
	return out, nil
}

func parse(
	domain string, d *commonv3.RateLimitDescriptor, cost int64, scratch []byte,
) (Descriptor, []byte, error) {
	out := Descriptor{Hit: Hit{Cost: cost}}
	scratch = appendPart(scratch, domain)
	for _, e := range d.GetEntries() {
		var err error
		switch e.GetKey() {
		case KeyLimit:
			out.Limit, err = ParseLimit(e.GetValue())
			out.Counted = true
		case KeyMode:
			err = out.setMode(e.GetValue())
		case MetadataPassed:
			// It is there, which is all that it says.
		case KeyRoute:
			scratch = appendPart(appendPart(scratch, KeyRoute), routeOf(e.GetValue()))
		default:
			if e.GetKey() == KeyRule {
				out.Rule = e.GetValue()
			}
			scratch = appendPart(appendPart(scratch, e.GetKey()), e.GetValue())
		}
		if err != nil {
			return Descriptor{}, scratch, err
		}
	}
	if err := out.override(d); err != nil {
		return Descriptor{}, scratch, err
	}
	if out.Cost > MaxCost || out.Cost < -MaxCost {
		return Descriptor{}, scratch, fmt.Errorf("a cost of %d is more than %d", out.Cost, MaxCost)
	}
	// Another unit is another counter, another number of requests is not: a limit that is raised is raised at once.
	scratch = append(scratch, byte(out.Limit.Unit))
	sum := sha256.Sum256(scratch)
	out.Key = Key(sum[:len(Key{})])
	return out, scratch, nil
}

func (d *Descriptor) setMode(mode string) error {
	switch mode {
	case ModeShadow:
		d.Shadow = true
	case ModeCharge:
		d.Force = true
	case ModeTell:
		d.Tell = true
	default:
		return fmt.Errorf("the mode %q is not known", mode)
	}
	return nil
}

// override takes in what a descriptor says in fields of its own.
func (d *Descriptor) override(from *commonv3.RateLimitDescriptor) error {
	if limit := from.GetLimit(); limit != nil {
		unit, ok := overrideUnits[limit.GetUnit()]
		if !ok {
			return fmt.Errorf("the unit %s of a limit is not known", limit.GetUnit())
		}
		d.Limit, d.Counted = Limit{Requests: limit.GetRequestsPerUnit(), Unit: unit}, true
	}
	if addend := from.GetHitsAddend(); addend != nil {
		if addend.GetValue() > MaxCost {
			return fmt.Errorf("a cost of %d is more than %d", addend.GetValue(), MaxCost)
		}
		d.Cost = int64(addend.GetValue())
	}
	if from.GetIsNegativeHits() {
		d.Cost = -d.Cost
	}
	return nil
}

var overrideUnits = map[typev3.RateLimitUnit]Unit{
	typev3.RateLimitUnit_SECOND: Second, typev3.RateLimitUnit_MINUTE: Minute, typev3.RateLimitUnit_HOUR: Hour,
	typev3.RateLimitUnit_DAY: Day, typev3.RateLimitUnit_MONTH: Month, typev3.RateLimitUnit_YEAR: Year,
}

// appendPart keeps parts apart: no two lists of parts give the same bytes.
func appendPart(out []byte, part string) []byte {
	out = binary.AppendUvarint(out, uint64(len(part)))
	return append(out, part...)
}

// routeOf is the name of an Envoy route without its rule.
func routeOf(name string) string {
	rest := name
	for range 3 {
		_, after, ok := strings.Cut(rest, "/")
		if !ok {
			return name
		}
		rest = after
	}
	return name[:len(name)-len(rest)-1]
}
