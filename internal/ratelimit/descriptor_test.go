package ratelimit_test

import (
	"testing"

	commonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluice-gateway/sluice/internal/ratelimit"
)

// entries makes a descriptor of keys and values in turn.
func entries(pairs ...string) *commonv3.RateLimitDescriptor {
	out := &commonv3.RateLimitDescriptor{}
	for i := 0; i+1 < len(pairs); i += 2 {
		out.Entries = append(out.Entries, &commonv3.RateLimitDescriptor_Entry{Key: pairs[i], Value: pairs[i+1]})
	}
	return out
}

func request(domain string, descriptors ...*commonv3.RateLimitDescriptor) *rlsv3.RateLimitRequest {
	return &rlsv3.RateLimitRequest{Domain: domain, Descriptors: descriptors}
}

// parsed is the only descriptor of a request.
func parsed(t *testing.T, r *rlsv3.RateLimitRequest) ratelimit.Descriptor {
	t.Helper()
	out, err := ratelimit.ParseRequest(r)
	if err != nil || len(out) != 1 {
		t.Fatalf("ParseRequest: %d descriptors, %v", len(out), err)
	}
	return out[0]
}

func TestParseRequest(t *testing.T) {
	override := entries(ratelimit.KeyRule, "r", ratelimit.KeyLimit, "10/Week")
	override.Limit = &commonv3.RateLimitDescriptor_RateLimitOverride{
		RequestsPerUnit: 7, Unit: typev3.RateLimitUnit_DAY,
	}
	cost := entries(ratelimit.KeyRule, "r", ratelimit.KeyLimit, "10/Week")
	cost.HitsAddend = wrapperspb.UInt64(0)
	refund := entries(ratelimit.KeyRule, "r", ratelimit.KeyLimit, "10/Week")
	refund.HitsAddend, refund.IsNegativeHits = wrapperspb.UInt64(4), true
	perWeek := ratelimit.Limit{Requests: 10, Unit: ratelimit.Week}

	for name, test := range map[string]struct {
		descriptor *commonv3.RateLimitDescriptor
		want       ratelimit.Descriptor
	}{
		"limit": {
			entries(ratelimit.KeyRule, "ns/policy/0", ratelimit.KeyLimit, "10/Week"),
			ratelimit.Descriptor{Hit: ratelimit.Hit{Limit: perWeek, Cost: 3}, Rule: "ns/policy/0", Counted: true},
		},
		"shadow": {
			entries(ratelimit.KeyLimit, "10/week", ratelimit.KeyMode, ratelimit.ModeShadow),
			ratelimit.Descriptor{Hit: ratelimit.Hit{Limit: perWeek, Cost: 3, Shadow: true}, Counted: true},
		},
		"shadow that tells": {
			entries(ratelimit.KeyLimit, "10/week", ratelimit.KeyMode, "shadow", ratelimit.KeyMode, ratelimit.ModeTell),
			ratelimit.Descriptor{Hit: ratelimit.Hit{Limit: perWeek, Cost: 3, Shadow: true}, Counted: true, Tell: true},
		},
		"charge": {
			entries(ratelimit.KeyLimit, "10/Week", ratelimit.KeyMode, ratelimit.ModeCharge),
			ratelimit.Descriptor{Hit: ratelimit.Hit{Limit: perWeek, Cost: 3, Force: true}, Counted: true},
		},
		"limit from metadata": {override, ratelimit.Descriptor{
			Hit: ratelimit.Hit{Limit: ratelimit.Limit{Requests: 7, Unit: ratelimit.Day}, Cost: 3}, Rule: "r", Counted: true,
		}},
		"cost of the descriptor": {cost, ratelimit.Descriptor{
			Hit: ratelimit.Hit{Limit: perWeek}, Rule: "r", Counted: true,
		}},
		"refund": {refund, ratelimit.Descriptor{
			Hit: ratelimit.Hit{Limit: perWeek, Cost: -4}, Rule: "r", Counted: true,
		}},
		"no limit": {entries("user", "anna"), ratelimit.Descriptor{Hit: ratelimit.Hit{Cost: 3}}},
	} {
		t.Run(name, func(t *testing.T) {
			r := request("d", test.descriptor)
			r.HitsAddend = 3
			got := parsed(t, r)
			got.Key = ratelimit.Key{}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseRequestRefuses(t *testing.T) {
	costly := entries(ratelimit.KeyLimit, "1/Day")
	costly.HitsAddend = wrapperspb.UInt64(1 << 63)
	unknown := entries("a", "b")
	unknown.Limit = &commonv3.RateLimitDescriptor_RateLimitOverride{RequestsPerUnit: 1}
	for name, r := range map[string]*rlsv3.RateLimitRequest{
		"no domain":     request("", entries("a", "b")),
		"no number":     request("d", entries(ratelimit.KeyLimit, "many/Day")),
		"no unit":       request("d", entries(ratelimit.KeyLimit, "1")),
		"unknown unit":  request("d", entries(ratelimit.KeyLimit, "1/Fortnight")),
		"too large":     request("d", entries(ratelimit.KeyLimit, "4294967296/Day")),
		"unknown mode":  request("d", entries(ratelimit.KeyLimit, "1/Day", ratelimit.KeyMode, "open")),
		"too costly":    request("d", costly),
		"override unit": request("d", unknown),
	} {
		if out, err := ratelimit.ParseRequest(r); err == nil {
			t.Errorf("%s: parsed as %+v", name, out)
		}
	}
}

// TestCountersAreToldApart has a row of descriptors that each has a counter of its own, and others that share one.
func TestCountersAreToldApart(t *testing.T) {
	key := func(domain string, pairs ...string) ratelimit.Key {
		return parsed(t, request(domain, entries(pairs...))).Key
	}
	const rule, limit, mode, route = ratelimit.KeyRule, ratelimit.KeyLimit, ratelimit.KeyMode, ratelimit.KeyRoute
	seen := map[ratelimit.Key]int{}
	for i, k := range []ratelimit.Key{
		key("d", rule, "r", limit, "1/Day"),
		key("e", rule, "r", limit, "1/Day"),
		key("d", rule, "q", limit, "1/Day"),
		key("d", rule, "r", limit, "1/Hour"),
		key("d", rule, "r", limit, "1/Day", "user", "anna"),
		key("d", rule, "r", limit, "1/Day", "user", "berta"),
		key("d", rule, "r", limit, "1/Day", "u", "seranna"),
		key("d", rule, "r", limit, "1/Day", "user", "anna", "", ""),
		key("d", rule, "r", limit, "1/Day", route, "httproute/ns/a/1"),
		key("d", rule, "r", limit, "1/Day", route, "httproute/ns/b/1"),
		key("d", rule, "r", limit, "1/Day", route, "grpcroute/ns/a/1"),
	} {
		if j, dup := seen[k]; dup {
			t.Errorf("descriptors %d and %d share a counter", j, i)
		}
		seen[k] = i
	}
	for name, same := range map[string][2]ratelimit.Key{
		"limits":  {key("d", rule, "r", limit, "1/Day"), key("d", rule, "r", limit, "2/Day")},
		"modes":   {key("d", rule, "r", limit, "1/Day"), key("d", rule, "r", mode, ratelimit.ModeCharge, limit, "1/Day")},
		"rules":   {key("d", route, "httproute/ns/a/1"), key("d", route, "httproute/ns/a/2")},
		"matches": {key("d", route, "httproute/ns/a/1"), key("d", route, "httproute/ns/a/1/2")},
	} {
		if same[0] != same[1] {
			t.Errorf("two %s of one have a counter each", name)
		}
	}
}

// FuzzParseRequest has any bytes parsed as a request: it ends in an error or in hits that a store can take.
func FuzzParseRequest(f *testing.F) {
	for _, d := range []*commonv3.RateLimitDescriptor{
		entries(ratelimit.KeyRule, "r", ratelimit.KeyLimit, "10/Week", ratelimit.KeyMode, ratelimit.ModeShadow),
		entries(ratelimit.KeyRoute, "httproute/a/b/1", ratelimit.KeyLimit, "0/Second"),
		{Limit: &commonv3.RateLimitDescriptor_RateLimitOverride{Unit: 9}, HitsAddend: wrapperspb.UInt64(1 << 40)},
	} {
		raw, err := proto.Marshal(request("d", d))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	store := ratelimit.NewMemory(1 << 20)
	f.Fuzz(func(t *testing.T, raw []byte) {
		r := &rlsv3.RateLimitRequest{}
		if proto.Unmarshal(raw, r) != nil {
			return
		}
		descriptors, err := ratelimit.ParseRequest(r)
		if err != nil {
			return
		}
		for _, d := range descriptors {
			if !d.Counted {
				continue
			}
			if d.Limit.Unit.Length() <= 0 || d.Cost > ratelimit.MaxCost || d.Cost < -ratelimit.MaxCost {
				t.Fatalf("a hit that no store can take: %+v", d)
			}
			if a := one(t, store, d.Hit); a.Reset < 0 || a.Reset > d.Limit.Unit.Length() || a.Remaining > d.Limit.Requests {
				t.Fatalf("%+v was answered with %+v", d, a)
			}
		}
	})
}

func TestLimitsAreReadAsWritten(t *testing.T) {
	for u := ratelimit.Second; u <= ratelimit.Year; u++ {
		want := ratelimit.Limit{Requests: 1<<32 - 1, Unit: u}
		if got, err := ratelimit.ParseLimit(want.String()); err != nil || got != want {
			t.Errorf("%s: %v, %v", want, got, err)
		}
	}
}
