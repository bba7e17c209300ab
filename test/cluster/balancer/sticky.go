package balancer

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// firstMark is the mark of the connections of the first node, and the number of its routing table.
const firstMark = 1000

// stick has each connection stay with the node that it began with. The routes alone would not: the kernel spreads
// connections over next hops by a hash, so that each change of the hops would send some to a node that knows nothing
// of them.
func (b *balancer) stick(ctx context.Context, routes map[string][]string) error {
	for _, address := range slices.Sorted(maps.Keys(routes)) {
		for _, hop := range routes[address] {
			if err := b.mark(ctx, hop); err != nil {
				return err
			}
		}
	}
	cmd := exec.CommandContext(ctx, "nft", "-f", "-")
	cmd.Stdin, cmd.Env = strings.NewReader(rules(routes, b.marks)), os.Environ()
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("nft: %w: %s", err, out)
	}
	return nil
}

// mark gives a node a mark, and what is marked so the way to it.
func (b *balancer) mark(ctx context.Context, hop string) error {
	if b.marks[hop] != 0 {
		return nil
	}
	mark := fmt.Sprint(firstMark + len(b.marks))
	if err := ip(ctx, "route", "replace", "default", "via", hop, "table", mark); err != nil {
		return err
	}
	_ = ip(ctx, "rule", "del", "fwmark", mark) // of a balancer that ran before, if any
	if err := ip(ctx, "rule", "add", "fwmark", mark, "lookup", mark); err != nil {
		return err
	}
	b.marks[hop] = firstMark + len(b.marks)
	return nil
}

// rules is the script of nft with which a new connection to an address gets the mark of one of its nodes in turn, and
// every packet the mark of its connection. It takes the place of an earlier one at once.
func rules(routes map[string][]string, marks map[string]int) string {
	var b strings.Builder
	b.WriteString("table ip balancer {}\ndelete table ip balancer\ntable ip balancer {\n  chain choose {\n")
	for _, address := range slices.Sorted(maps.Keys(routes)) {
		hops := routes[address]
		if len(hops) == 0 {
			continue
		}
		var choice []string
		for i, hop := range hops {
			choice = append(choice, fmt.Sprintf("%d : %d", i, marks[hop]))
		}
		fmt.Fprintf(&b, "    ip daddr %s ct mark 0 ct mark set numgen inc mod %d map { %s }\n",
			address, len(hops), strings.Join(choice, ", "))
		fmt.Fprintf(&b, "    ip daddr %s meta mark set ct mark\n", address)
	}
	b.WriteString(`  }
  chain own { type route hook output priority mangle; jump choose; }
  chain others { type filter hook prerouting priority mangle; jump choose; }
}
`)
	return b.String()
}
