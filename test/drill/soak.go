package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"syscall"
	"time"

	"github.com/sluice-gateway/sluice/test/bench/load"
)

// soakDrills are those of all together.
var soakDrills = []drill{
	{id: "F42", fault: "random faults of F01, F02, F04, F10, F12, F16, F20 and F31, one after the other, under load",
		long: true,
		promise: "0 requests fail but while Envoy is away; all is live again within 5 s of each; memory grows by " +
			"100 MiB at most, and files and threads do not pile up",
		run: soaked, loses: true},
}

// soak is an instance that has faults for a long time.
type soak struct {
	in    *instance
	rng   *rand.Rand
	round int
	stop  func() load.Result
	// unexplained are requests that failed while Envoy was there, explained those while it was away.
	unexplained, explained load.Result
	did                    map[string]int
	slowest                time.Duration
}

// soakFaults are what happens, by what it is called.
func soakFaults() map[string]func(context.Context, *soak) error {
	return map[string]func(context.Context, *soak) error{
		"control plane killed": func(ctx context.Context, s *soak) error { return s.in.killPlane(ctx) },
		"control plane hung":   hang,
		"Envoy killed":         killEnvoy,
		"certificate replaced": func(_ context.Context, s *soak) error { return s.replace("kept", s.round%2 == 0) },
		"certificate broken":   breakOther,
		"route edited": func(_ context.Context, s *soak) error {
			versions := editVersions()
			return s.in.write("edited.yaml", versions[s.rng.IntN(len(versions)/2)])
		},
		"Secrets written": func(_ context.Context, s *soak) error {
			return s.in.write("unused.yaml", fmt.Sprintf(
				"apiVersion: v1\nkind: Secret\nmetadata: {name: unused}\nstringData: {a: \"%d\"}\n", s.round))
		},
		"file broken": func(_ context.Context, s *soak) error {
			return s.in.write(fmt.Sprintf("r%d.yaml", s.rng.IntN(50)), "kind: [\n")
		},
	}
}

// soaked has one fault after the other, each followed by a change that has to become live.
func soaked(ctx context.Context, f *field) (string, error) {
	in, err := f.startTLS(ctx, "kept", "other")
	if err != nil {
		return "", err
	}
	for name, content := range routes(100) {
		if err := in.write(name, content); err != nil {
			return "", err
		}
	}
	if err := in.write("edited.yaml", editVersions()[0]); err != nil {
		return "", err
	}
	for _, h := range []string{host(0), host(99), "edited.example"} {
		if _, err := in.want(ctx, h, "/", 200); err != nil {
			return "", err
		}
	}
	length := cmp.Or(f.length, time.Duration(f.size(60, 300))*time.Second)
	s := &soak{in: in, rng: rand.New(rand.NewPCG(42, 42)), did: map[string]int{}}
	s.load()
	faults := soakFaults()
	names := slices.Sorted(maps.Keys(faults))
	var first census
	for began := time.Now(); time.Since(began) < length; s.round++ {
		if first == (census{}) && time.Since(began) > length/3 {
			if first, err = s.census(ctx); err != nil {
				return "", err
			}
		}
		name := names[s.rng.IntN(len(names))]
		s.did[name]++
		if err := errors.Join(faults[name](ctx, s), s.settle(ctx)); err != nil {
			return "", fmt.Errorf("after %s: %w", name, err)
		}
	}
	last, err := s.census(ctx)
	if err != nil {
		return "", err
	}
	s.unexplained = s.unexplained.Merge(s.stop())
	return s.judge(length, piledUp(first, last))
}

// census is of an instance whose control plane may just be starting.
func (s *soak) census(ctx context.Context) (census, error) {
	var out census
	err := eventually(ctx, patience, func() (err error) {
		out, err = s.in.census(ctx)
		return err
	})
	return out, err
}

func (s *soak) load() {
	s.stop = s.in.f.startLoad(load.Config{
		Address: s.in.address(), Conns: 8, Rate: float64(s.in.f.size(500, 3000)), Requests: []load.Request{
			load.NewRequest(host(0), "/", nil), load.NewRequest(host(99), "/", nil),
			load.NewRequest("edited.example", "/", nil),
		},
	})
}

// settle wants a change to be live.
func (s *soak) settle(ctx context.Context) error {
	name := fmt.Sprintf("soak-%d.example", s.round)
	if err := s.in.write("soak.yaml", route("soak", name, to("one"))); err != nil {
		return err
	}
	took, err := s.in.want(ctx, name, "/", 200)
	s.slowest = max(s.slowest, took)
	return err
}

func hang(ctx context.Context, s *soak) error {
	pid, err := s.in.planePID(ctx)
	if err != nil {
		return err
	}
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		return err
	}
	waited := pause(ctx, time.Duration(s.rng.IntN(2000))*time.Millisecond)
	return errors.Join(waited, syscall.Kill(pid, syscall.SIGCONT))
}

// killEnvoy counts what fails until Envoy is back apart from all else.
func killEnvoy(ctx context.Context, s *soak) error {
	pid, err := s.in.envoyPID(ctx)
	if err != nil {
		return err
	}
	s.unexplained = s.unexplained.Merge(s.stop())
	s.load()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		return err
	}
	for _, h := range []string{host(0), host(99), "edited.example"} {
		if _, err := s.in.want(ctx, h, "/", 200); err != nil {
			return err
		}
	}
	s.explained = s.explained.Merge(s.stop())
	s.load()
	return nil
}

func (s *soak) replace(name string, ecc bool) error {
	content, err := certificate(name, name+".example", int64(1000+s.round), ecc)
	return errors.Join(err, s.in.write(name+".yaml", content))
}

// breakOther breaks the certificate of a listener, and mends it in the next round or later.
func breakOther(_ context.Context, s *soak) error {
	faults, good, err := badSecrets("other")
	if err != nil {
		return err
	}
	return s.in.write("other.yaml", append(faults, good)[s.rng.IntN(len(faults)+1)])
}

// piledUp names what has grown by more than processes of different ages differ in.
func piledUp(before, after census) []string {
	var out []string
	for what, more := range map[string]int{
		"memory of the control plane": after.plane - before.plane - 100, "memory of Envoy": after.envoy - before.envoy - 100,
		"files": after.files - before.files - 20, "goroutines": after.threads - before.threads - 30,
	} {
		if more > 0 {
			out = append(out, what)
		}
	}
	slices.Sort(out)
	return out
}

func (s *soak) judge(length time.Duration, grown []string) (string, error) {
	rounds := ""
	for _, name := range slices.Sorted(maps.Keys(s.did)) {
		rounds += fmt.Sprintf(", %d x %s", s.did[name], name)
	}
	seen := fmt.Sprintf("%d faults in %v%s; %v; while Envoy was away %d failed; live within %v", s.round, length, rounds,
		s.unexplained, s.explained.Failed(), s.slowest.Round(time.Millisecond))
	switch {
	case len(grown) > 0:
		return seen, broken("grown: %v", grown)
	case s.slowest > 5*time.Second:
		return seen, broken("it took %v", s.slowest)
	}
	return seen, unharmed(s.unexplained, 500)
}
