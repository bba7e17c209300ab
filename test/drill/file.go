package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// fileDrills are those of the folder with the configuration, and of the one with the state.
var fileDrills = []drill{
	{id: "F30", fault: "the disk with the state is full while files change, and later is not (as root)",
		promise: "0 requests fail, changes are live; with room again the last version is kept within 10 s", run: diskFull},
	{id: "F32", fault: "a file of several routes is written in place, in random pieces, under load",
		promise: "routes of other files never fail; the last version is live within 2 s", run: writtenInPieces},
	{id: "F33", fault: "the folder is removed and made again, under load",
		promise: "what it holds again is live within 2 s of its return, and changes are noticed", run: folderRemoved},
	{id: "F34", fault: "the instance is killed while it writes its state",
		promise: "every start from it, with the files broken, serves a version that was good", run: killedWhileSaving},
}

func writtenInPieces(ctx context.Context, f *field) (string, error) {
	in, err := f.start(ctx, map[string]string{"kept.yaml": route("kept", "kept.example", to("one"))})
	if err != nil {
		return "", err
	}
	stop := in.load(float64(f.size(400, 1000)), "kept.example")
	rng, rounds, slowest := rand.New(rand.NewPCG(2, 2)), f.size(15, 200), time.Duration(0)
	for round := range rounds {
		var content strings.Builder
		for i := range 5 {
			content.WriteString("---\n" + route(fmt.Sprintf("p%d", i), fmt.Sprintf("p%d-%d.example", i, round), to("one")))
		}
		if err := writeInPieces(ctx, filepath.Join(in.config, "pieces.yaml"), content.String(), rng); err != nil {
			return "", err
		}
		began := time.Now()
		for i := range 5 {
			if _, err := in.want(ctx, fmt.Sprintf("p%d-%d.example", i, round), "/", 200); err != nil {
				return "", err
			}
		}
		slowest = max(slowest, time.Since(began))
	}
	result := stop()
	seen := fmt.Sprintf("%d files, %v; whole within %v", rounds, result, slowest.Round(time.Millisecond))
	if slowest > 2*time.Second {
		return seen, broken("it took %v", slowest)
	}
	return seen, unharmed(result, 200)
}

// writeInPieces writes a file in place, with pauses wherever chance has them.
func writeInPieces(ctx context.Context, path, content string, rng *rand.Rand) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }() // after an error: otherwise it is closed below
	for len(content) > 0 {
		n := min(len(content), 1+rng.IntN(400))
		if _, err := file.WriteString(content[:n]); err != nil {
			return err
		}
		content = content[n:]
		if err := pause(ctx, time.Duration(rng.IntN(30))*time.Millisecond); err != nil {
			return err
		}
	}
	return file.Close()
}

func folderRemoved(ctx context.Context, f *field) (string, error) {
	in, err := f.start(ctx, map[string]string{"kept.yaml": route("kept", "kept.example", to("one"))})
	if err != nil {
		return "", err
	}
	if err := in.kept(ctx, 3); err != nil {
		return "", err
	}
	rounds, slowest := f.size(3, 20), time.Duration(0)
	for round := range rounds {
		away := in.config + ".away"
		if err := os.Rename(in.config, away); err != nil {
			return "", err
		}
		if err := pause(ctx, 500*time.Millisecond); err != nil {
			return "", err
		}
		if err := os.Rename(away, in.config); err != nil {
			return "", err
		}
		name := fmt.Sprintf("round%d.example", round)
		if err := in.write("added.yaml", route("added", name, to("one"))); err != nil {
			return "", err
		}
		took, err := in.want(ctx, name, "/", 200)
		if err != nil {
			return "", err
		}
		kept, err := in.want(ctx, "kept.example", "/", 200)
		if err != nil {
			return "", err
		}
		slowest = max(slowest, took+kept)
	}
	seen := fmt.Sprintf("%d rounds, live within %v", rounds, slowest.Round(time.Millisecond))
	if slowest > 2*time.Second {
		return seen, broken("it took %v", slowest)
	}
	return seen, nil
}

// killedWhileSaving writes two files in the same moment and kills at random after that. What is then served must be a
// whole version of each.
func killedWhileSaving(ctx context.Context, f *field) (string, error) {
	in, err := f.prepareInstance()
	if err != nil {
		return "", err
	}
	rng, kills := rand.New(rand.NewPCG(3, 3)), f.size(6, 60)
	version := func(n int) string {
		padding := "# " + strings.Repeat("x", 200_000) + "\n"
		return padding + route("saved", fmt.Sprintf("saved-%d.example", n), to("one"))
	}
	if err := in.write("saved.yaml", version(0)); err != nil {
		return "", err
	}
	good, recalled := 0, 0
	for n := range kills {
		if err := in.run(ctx); err != nil {
			return "", err
		}
		if _, err := in.want(ctx, fmt.Sprintf("saved-%d.example", good), "/", 200); err != nil {
			return "", broken("kill %d: the last good version is not served: %v", n, err)
		}
		if err := in.write("saved.yaml", version(n+1)); err != nil {
			return "", err
		}
		if err := pause(ctx, time.Duration(rng.IntN(60))*time.Millisecond); err != nil {
			return "", err
		}
		in.kill()
		// The file is broken, so that only what was kept can be served.
		if err := in.write("saved.yaml", "kind: [\n"); err != nil {
			return "", err
		}
		if err := in.run(ctx); err != nil {
			return "", err
		}
		before, err := in.get(fmt.Sprintf("saved-%d.example", good), "/")
		if err != nil {
			return "", err
		}
		after, err := in.get(fmt.Sprintf("saved-%d.example", n+1), "/")
		if err != nil {
			return "", err
		}
		if (before == 200) == (after == 200) {
			return "", broken("kill %d: the version before is answered with %d, the new one with %d", n, before, after)
		}
		if after == 200 {
			good = n + 1
			recalled++
		}
		in.kill()
		if err := in.write("saved.yaml", version(good)); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("%d kills: %d starts with the new version, %d with the one before", kills, recalled,
		kills-recalled), nil
}

// diskFull gives the state a small disk of its own, in a mount namespace that ends with the instance.
func diskFull(ctx context.Context, f *field) (string, error) {
	if os.Geteuid() != 0 {
		return "not run: it needs root", nil
	}
	in, err := f.prepareInstance()
	if err != nil {
		return "", err
	}
	state := filepath.Join(in.root, "state")
	in.wrapper = []string{"unshare", "--mount", "--propagation", "private", "sh", "-c",
		"mount -t tmpfs -o size=1m drill " + state + ` && exec "$0" "$@"`}
	if err := in.write("kept.yaml", route("kept", "kept.example", to("one"))); err != nil {
		return "", err
	}
	if err := in.run(ctx); err != nil {
		return "", err
	}
	plane, err := in.planePID(ctx)
	if err != nil {
		return "", err
	}
	stop := in.load(400, "kept.example")
	inside := fmt.Sprintf("/proc/%d/root%s", plane, state)
	filler := filepath.Join(inside, "filler")
	if err := os.WriteFile(filler, make([]byte, 2<<20), 0o600); err == nil {
		return "", fmt.Errorf("the disk of %s is not full", inside)
	}
	added := func(n int) string { return fmt.Sprintf("full-%d.example", n) }
	const changes = 5
	for n := range changes {
		content := "# " + strings.Repeat("x", 10_000) + "\n" + route("added", added(n), to("one"))
		if err := in.write("added.yaml", content); err != nil {
			return "", err
		}
		if _, err := in.want(ctx, added(n), "/", 200); err != nil {
			return "", broken("a change is not live on a full disk: %v", err)
		}
	}
	if err := os.Remove(filler); err != nil {
		return "", err
	}
	began := time.Now()
	err = eventually(ctx, 10*time.Second, func() error { return contains(inside, added(changes-1)) })
	took := time.Since(began)
	result := stop()
	seen := fmt.Sprintf("%d changes, %v; kept %v after there was room", changes, result, took.Round(10*time.Millisecond))
	if err != nil {
		return seen, broken("%v", err)
	}
	return seen, unharmed(result, 100)
}

// contains returns an error if no file below a folder has a text.
func contains(dir, text string) error {
	found := false
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(path)
		found = found || strings.Contains(string(content), text)
		return err
	})
	if err == nil && !found {
		err = fmt.Errorf("%q is in no file of %s", text, dir)
	}
	return err
}
