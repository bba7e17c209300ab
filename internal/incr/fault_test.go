package incr_test

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-gateway/sluice/internal/incr"
)

// TestA50PanicKeepsTheOldValue breaks one key of many, with one goroutine and with several.
func TestA50PanicKeepsTheOldValue(t *testing.T) {
	for _, workers := range []int{1, 4} {
		e := incr.New(workers)
		in := incr.NewInput[name, int](e, "in")
		half := incr.NewTable(e, "half", func(r *incr.Reader, k name) (int, bool) {
			v, ok := incr.Get(r, in, k)
			if v%2 != 0 {
				panic(fmt.Sprintf("%d is odd", v))
			}
			return v / 2, ok
		}, in)
		after := incr.NewTable(e, "after", func(r *incr.Reader, k name) (int, bool) {
			v, ok := incr.Get(r, half, k)
			return v + 1, ok
		}, half)
		key := func(i int) name { return name(fmt.Sprintf("k%02d", i)) }
		for i := range 40 {
			in.Set(key(i), 2*i)
		}
		e.Commit()

		in.Set(key(7), 15)
		in.Set("new", 17)
		for i := 20; i < 40; i++ {
			in.Set(key(i), 4*i)
		}
		result := e.Commit()
		if len(result.Faults) != 2 || result.Faults[0].Key != "k07" || result.Faults[1].Key != "new" {
			t.Fatalf("faults are %v, want one of k07 and one of new", result.Faults)
		}
		if msg := result.Faults[0].Error(); !strings.HasPrefix(msg, "half[k07]: panic: 15 is odd\n") ||
			!strings.Contains(msg, "fault_test.go") {
			t.Errorf("the fault does not say where it happened:\n%s", msg)
		}
		want := map[name]int{}
		for i := range 40 {
			want[key(i)] = i + 1
			if i >= 20 {
				want[key(i)] = 2*i + 1
			}
		}
		if diff := cmp.Diff(want, maps.Collect(after.All())); diff != "" {
			t.Errorf("after the fault (-want +got):\n%s", diff)
		}

		in.Set(key(7), 16)
		in.Delete("new")
		if result := e.Commit(); len(result.Faults) != 0 {
			t.Errorf("after its input was mended, k07 still has faults %v", result.Faults)
		}
		want[key(7)] = 9
		if diff := cmp.Diff(want, maps.Collect(after.All())); diff != "" {
			t.Errorf("after the healing (-want +got):\n%s", diff)
		}
	}
}

// TestFaultHealsByWhatWasReadBeforeIt covers a key whose own input stays while another thing that it read changes, and
// a miss that appears.
func TestFaultHealsByWhatWasReadBeforeIt(t *testing.T) {
	e := incr.New(1)
	in, other := incr.NewInput[name, int](e, "in"), incr.NewInput[name, int](e, "other")
	out := incr.NewTable(e, "out", func(r *incr.Reader, k name) (int, bool) {
		v, _ := incr.Get(r, in, k)
		o, ok := incr.Get(r, other, "o")
		if !ok {
			panic("there is no o")
		}
		return v + o, true
	}, in)
	in.Set("a", 1)
	if faults := e.Commit().Faults; len(faults) != 1 {
		t.Fatalf("faults are %v, want one", faults)
	}
	if _, ok := out.Peek("a"); ok {
		t.Error("a key that never could be computed has a value")
	}
	if result := e.Commit(); result.Recomputed() != 0 || len(result.Faults) != 0 {
		t.Errorf("a commit without changes did %+v", result)
	}
	other.Set("o", 10)
	e.Commit()
	if v, _ := out.Peek("a"); v != 11 {
		t.Errorf("out[a] is %d after o appeared, want 11", v)
	}
	other.Delete("o")
	e.Commit()
	if v, ok := out.Peek("a"); v != 11 || !ok {
		t.Errorf("out[a] is %d, %v after o went, want the old value 11", v, ok)
	}
	in.Delete("a")
	if faults := e.Commit().Faults; len(faults) != 0 || out.Len() != 0 {
		t.Errorf("a key that went while faulted left faults %v and %d values", faults, out.Len())
	}
}

// TestPanicsOfOtherFunctions covers the functions besides a table's own.
func TestPanicsOfOtherFunctions(t *testing.T) {
	e := incr.New(1)
	in := incr.NewInput[name, int](e, "in")
	groups := incr.NewIndex(e, "groups", in, func(_ name, v int) []name {
		return []name{[]name{"zero", "one"}[v]}
	})
	members := incr.NewTable(e, "members", func(r *incr.Reader, g name) (string, bool) {
		text := ""
		for k, v := range groups.Values(r, g) {
			text += fmt.Sprintf("%s=%d ", k, v)
		}
		return text, true
	}, groups).Equal(func(a, b string) bool {
		if b == "a=1 b=1 " {
			panic("cannot compare")
		}
		return a == b
	})
	in.Set("a", 0)
	in.Set("b", 1)
	e.Commit()

	in.Set("a", 2)
	result := e.Commit()
	if len(result.Faults) != 1 || result.Faults[0].Table != "groups" || result.Faults[0].Key != "a" {
		t.Fatalf("faults are %v, want one of a in groups", result.Faults)
	}
	want := map[name]string{"zero": "a=2 ", "one": "b=1 "}
	if diff := cmp.Diff(want, maps.Collect(members.All())); diff != "" {
		t.Errorf("a key that cannot be classified has to stay in its groups (-want +got):\n%s", diff)
	}
	in.Set("a", 1)
	result = e.Commit()
	if len(result.Faults) != 1 || result.Faults[0].Table != "members" || result.Faults[0].Key != "one" {
		t.Errorf("faults are %v, want one of one in members", result.Faults)
	}
	want = map[name]string{"one": "b=1 "}
	if diff := cmp.Diff(want, maps.Collect(members.All())); diff != "" {
		t.Errorf("after a comparison panicked (-want +got):\n%s", diff)
	}
	in.Delete("b")
	if result := e.Commit(); len(result.Faults) != 0 {
		t.Errorf("faults are %v after the cause went", result.Faults)
	}
	want = map[name]string{"one": "a=1 "}
	if diff := cmp.Diff(want, maps.Collect(members.All())); diff != "" {
		t.Errorf("after the cause went (-want +got):\n%s", diff)
	}
}

// TestMendedAndOnFault follows faulty keys of a table that chooses their values, and of one that does not, until they
// are computed again or gone.
func TestMendedAndOnFault(t *testing.T) {
	e := incr.New(1)
	in := incr.NewInput[name, int](e, "in")
	compute := func(r *incr.Reader, k name) (int, bool) {
		v, ok := incr.Get(r, in, k)
		if v < 0 {
			panic("negative")
		}
		return v, ok
	}
	keeps := incr.NewTable(e, "keeps", compute, in)
	chooses := incr.NewTable(e, "chooses", compute, in).OnFault(
		func(r *incr.Reader, k name, last int, had bool) (int, bool) {
			if v, _ := incr.Get(r, in, k); v == -2 {
				panic("fails too")
			}
			return last + 100, !had
		})
	step := func(key name, value int, want ...string) {
		t.Helper()
		if in.Set(key, value); value == 0 {
			in.Delete(key)
		}
		result, got := e.Commit(), []string{}
		for _, f := range result.Faults {
			got = append(got, fmt.Sprintf("fault %s[%v] kept %v reads %v", f.Table, f.At, f.Kept, f.Reads))
		}
		for _, f := range result.Mended {
			got = append(got, fmt.Sprintf("mended %s[%v]", f.Table, f.At))
		}
		for _, table := range []*incr.Table[name, int]{keeps, chooses} {
			if v, ok := table.Peek(key); ok {
				got = append(got, fmt.Sprint(v))
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s = %d (-want +got):\n%s", key, value, diff)
		}
	}
	reads := " reads [{in a}]"
	step("a", 1, "1", "1")
	step("a", -1, "fault keeps[a] kept true"+reads, "fault chooses[a] kept false"+reads, "1")
	step("a", -3, "fault keeps[a] kept true"+reads, "fault chooses[a] kept true"+reads, "1", "100")
	step("a", -2, "fault keeps[a] kept true"+reads, "fault chooses[a] kept true"+reads, "1", "100")
	step("b", 5, "5", "5")
	step("a", 3, "mended keeps[a]", "mended chooses[a]", "3", "3")
	step("a", -2, "fault keeps[a] kept true"+reads, "fault chooses[a] kept true"+reads, "3", "3")
	step("a", 0, "mended keeps[a]", "mended chooses[a]")
}

// TestCycles lets functions read what they may not: themselves, a later table, a later index.
func TestCycles(t *testing.T) {
	var (
		self, later *incr.Table[name, int]
		index       *incr.Index[name, name, int]
	)
	reads := map[name]func(*incr.Reader, name){
		"self":   func(r *incr.Reader, k name) { incr.Get(r, self, k) },
		"later":  func(r *incr.Reader, k name) { incr.Get(r, later, k) },
		"keys":   func(r *incr.Reader, k name) { index.Keys(r, k) },
		"values": func(r *incr.Reader, k name) { index.Values(r, k) },
		"fine":   func(*incr.Reader, name) {},
	}
	e := incr.New(1)
	in := incr.NewInput[name, int](e, "in")
	self = incr.NewTable(e, "self", func(r *incr.Reader, k name) (int, bool) {
		v, ok := incr.Get(r, in, k)
		if v > 0 {
			reads[k](r, k)
		}
		return v, ok
	}, in)
	later = incr.NewTable(e, "later", func(r *incr.Reader, k name) (int, bool) { return incr.Get(r, self, k) }, self)
	index = incr.NewIndex(e, "index", later, func(k name, _ int) []name { return []name{k} })
	for k := range reads {
		in.Set(k, 1)
	}
	result := e.Commit()
	got := map[string]string{}
	for _, f := range result.Faults {
		if !errors.Is(f, incr.ErrCycle) {
			t.Errorf("fault %v is not ErrCycle", f)
		}
		got[f.Key] = f.Error()
	}
	want := map[string]string{
		"self":   `self[self]: reads a table that is not before it: table "self"`,
		"later":  `self[later]: reads a table that is not before it: table "later"`,
		"keys":   `self[keys]: reads a table that is not before it: table "index"`,
		"values": `self[values]: reads a table that is not before it: table "index"`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("faults (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[name]int{"fine": 1}, maps.Collect(later.All())); diff != "" {
		t.Errorf("what was computed besides (-want +got):\n%s", diff)
	}
	in.Set("self", 0)
	e.Commit()
	if v, ok := later.Peek("self"); v != 0 || !ok {
		t.Errorf("later[self] is %d, %v after the function stopped reading itself, want 0, true", v, ok)
	}
}

// TestMistakesInTheProgram covers what panics when tables are declared, rather than when they are used.
func TestMistakesInTheProgram(t *testing.T) {
	identity := func(_ *incr.Reader, k name) (int, bool) { return 0, true }
	tests := map[string]struct {
		declare func()
		want    string
	}{
		"key source created later": {
			declare: func() {
				e, bigger := incr.New(1), incr.New(1)
				incr.NewInput[name, int](bigger, "first")
				later := incr.NewInput[name, int](bigger, "keys")
				incr.NewTable(e, "table", identity, later)
			},
			want: "incr: table table takes its keys from keys, which is not before it",
		},
		"table after the first commit": {
			declare: func() {
				e := incr.New(1)
				in := incr.NewInput[name, int](e, "in")
				e.Commit()
				incr.NewTable(e, "table", identity, in)
			},
			want: "incr: table is created after the engine's first commit",
		},
		"index after the first commit": {
			declare: func() {
				e := incr.New(1)
				in := incr.NewInput[name, int](e, "in")
				e.Commit()
				incr.NewIndex(e, "index", in, func(k name, _ int) []name { return nil })
			},
			want: "incr: index is created after the engine's first commit",
		},
	}
	for title, tt := range tests {
		t.Run(title, func(t *testing.T) {
			defer func() {
				if got := fmt.Sprint(recover()); got != tt.want {
					t.Errorf("panic %q, want %q", got, tt.want)
				}
			}()
			tt.declare()
		})
	}
}

// TestAbsentValuesAreZero: what a function returns beside false must not be seen, since which of several such values
// would be there depends on history.
func TestAbsentValuesAreZero(t *testing.T) {
	e := incr.New(1)
	in := incr.NewInput[name, int](e, "in")
	none := incr.NewTable(e, "none", func(r *incr.Reader, k name) (int, bool) {
		v, _ := incr.Get(r, in, k)
		return v, v > 100
	}, in)
	seen := incr.NewTable(e, "seen", func(r *incr.Reader, k name) (string, bool) {
		v, ok := incr.Get(r, none, k)
		return fmt.Sprint(v, ok), true
	}, in)
	for _, step := range []struct {
		in   int
		want string
	}{{5, "0 false"}, {101, "101 true"}, {6, "0 false"}, {7, "0 false"}} {
		in.Set("a", step.in)
		e.Commit()
		if got, _ := seen.Peek("a"); got != step.want {
			t.Errorf("with in %d the reader saw %q, want %q", step.in, got, step.want)
		}
	}
}
