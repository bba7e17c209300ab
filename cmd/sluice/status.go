package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
)

// defaultAdminAddress is where a running instance is asked.
const defaultAdminAddress = "127.0.0.1:19000"

func statusCommand() *cobra.Command {
	var address, output string
	var watch bool
	cmd := &cobra.Command{
		Use:   "status [KIND[/NAME] | KIND NAME...]...",
		Short: "Ask the running instance how every object is",
		Long: `Ask the running instance how every object is: whether it is accepted, whether its references resolve, and
whether Envoy runs it. Kinds and names narrow the list; kinds can be plural, or short as kubectl has them, in any
case.`,
		Example: "  sluice status\n  sluice status httproutes\n  sluice status gateway/web -o yaml\n  sluice status -w",
		RunE: func(cmd *cobra.Command, args []string) error {
			list, err := parseWanted(args)
			if err != nil {
				return err
			}
			c := statusClient{address: address, output: output, wanted: list}
			if watch {
				return c.watch(cmd.Context(), cmd.OutOrStdout())
			}
			objects, err := c.get(cmd.Context())
			if err != nil {
				return err
			}
			return c.write(cmd.OutOrStdout(), objects)
		},
	}
	cmd.ValidArgsFunction = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return slices.Sorted(maps.Keys(statusKinds)), cobra.ShellCompDirectiveNoFileComp
	}
	cmd.Flags().StringVar(&address, "admin-address", defaultAdminAddress, "Address of the instance's admin API")
	cmd.Flags().StringVarP(&output, "output", "o", "table", "Output format: table, yaml or json")
	completeFormats(cmd, "table", "yaml", "json")
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "Print what changes until interrupted")
	return cmd
}

// statusKinds are the kinds that have a status, by their plurals, with their short names.
var statusKinds = map[string]string{
	"backends": "be", "backendtlspolicies": "btlspolicy", "backendtrafficpolicies": "btp",
	"clienttrafficpolicies": "ctp", "envoyextensionpolicies": "eep", "envoypatchpolicies": "epp",
	"envoyproxies": "eproxy", "gatewayclasses": "gc", "gateways": "gtw", "grpcroutes": "", "httproutes": "",
	"listenersets": "lset", "securitypolicies": "sp",
	"tcproutes": "", "tlsroutes": "", "udproutes": "", "xbackends": "", "xbackendtrafficpolicies": "xbtrafficpolicy",
	"xtelemetrypolicies": "",
}

// wanted is what the user asks for: the objects of a kind, or one name among them.
type wanted struct {
	// kind is singular and in lower case.
	kind, name string
	named      bool
}

// parseWanted reads KIND, KIND/NAME, and KIND NAME as kubectl has it.
func parseWanted(args []string) ([]wanted, error) {
	var out []wanted
	for _, arg := range args {
		kind, name, named := strings.Cut(arg, "/")
		known := knownKind(kind)
		last := len(out) - 1
		switch {
		case known != "":
			out = append(out, wanted{kind: known, name: name, named: named})
		case last >= 0 && !out[last].named:
			out[last].name, out[last].named = arg, true
		case last >= 0:
			out = append(out, wanted{kind: out[last].kind, name: arg, named: true})
		default:
			return nil, fmt.Errorf("no kind with a status is named %q: there are %s", kind,
				strings.Join(slices.Sorted(maps.Keys(statusKinds)), ", "))
		}
	}
	return out, nil
}

// knownKind returns a kind as [wanted] has it, empty if there is none of the name.
func knownKind(name string) string {
	for plural, short := range statusKinds {
		if singular(name) == singular(plural) || short != "" && strings.EqualFold(name, short) {
			return singular(plural)
		}
	}
	return ""
}

// completeFormats makes shells complete the values of --output.
func completeFormats(cmd *cobra.Command, formats ...string) {
	err := cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp))
	if err != nil {
		panic(err) // there is no such flag: a mistake in the program
	}
}

// statusObject is an object with its status as the admin API gives it.
type statusObject struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name       string `json:"name"`
		Namespace  string `json:"namespace,omitempty"`
		Generation int64  `json:"generation"`
	} `json:"metadata"`
	Status map[string]any `json:"status"`
}

func (o statusObject) name() string {
	if o.Metadata.Namespace == "" {
		return o.Metadata.Name
	}
	return o.Metadata.Namespace + "/" + o.Metadata.Name
}

type statusClient struct {
	address, output string
	wanted          []wanted
}

func (c statusClient) get(ctx context.Context) ([]statusObject, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.address+"/status", nil)
	if err != nil {
		return nil, fmt.Errorf("admin address %q: %w", c.address, err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("no sluice answers on %s: is `sluice run` running, with this --admin-address? (%w)",
			c.address, err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %s: that is not the admin API of a sluice", c.address, resp.Status)
	}
	var objects []statusObject
	if err := json.NewDecoder(resp.Body).Decode(&objects); err != nil {
		return nil, fmt.Errorf("read the answer of %s: %w", c.address, err)
	}
	return slices.DeleteFunc(objects, func(o statusObject) bool { return !c.wants(o) }), nil
}

func (c statusClient) wants(o statusObject) bool {
	if len(c.wanted) == 0 {
		return true
	}
	return slices.ContainsFunc(c.wanted, func(w wanted) bool {
		return singular(o.Kind) == w.kind && (!w.named || w.name == o.Metadata.Name || w.name == o.name())
	})
}

// singular is a kind as the user may have written it, in lower case and without the ending of its plural.
func singular(kind string) string {
	kind = strings.ToLower(kind)
	if stem, ok := strings.CutSuffix(kind, "ies"); ok {
		return stem + "y"
	}
	if strings.HasSuffix(kind, "sses") {
		return strings.TrimSuffix(kind, "es")
	}
	if strings.HasSuffix(kind, "ss") {
		return kind
	}
	return strings.TrimSuffix(kind, "s")
}

func (c statusClient) write(w io.Writer, objects []statusObject) error {
	switch c.output {
	case "table":
		return c.table(w, objects)
	case "yaml", "json":
		return writeAs(w, c.output, objects)
	}
	return fmt.Errorf("unknown output format %q: use table, yaml or json", c.output)
}

func (c statusClient) table(w io.Writer, objects []statusObject) error {
	tw := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	_, _ = fmt.Fprintln(tw, "KIND\tNAME\tACCEPTED\tREFS\tPROGRAMMED\tMESSAGE")
	for _, o := range objects {
		_, _ = fmt.Fprintln(tw, row(o))
	}
	return tw.Flush()
}

// row is an object's line of the table.
func row(o statusObject) string {
	s := summarize(o.Status)
	return strings.Join([]string{
		o.Kind, o.name(), s.cell("Accepted"), s.cell("ResolvedRefs"), s.cell("Programmed"), s.message,
	}, "\t")
}

// summary is the worst that an object's conditions say.
type summary struct {
	conditions map[string]string
	message    string
}

func (s summary) cell(condition string) string {
	if v, ok := s.conditions[condition]; ok {
		return v
	}
	return "-"
}

// summarize walks a status. A condition that is False in any part of it is False in the summary.
func summarize(status map[string]any) summary {
	s := summary{conditions: map[string]string{}}
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, item := range v {
				walk(item)
			}
		case map[string]any:
			if v["type"] != nil && v["reason"] != nil && v["status"] != nil {
				s.add(fmt.Sprint(v["type"]), fmt.Sprint(v["status"]), fmt.Sprint(v["reason"]), fmt.Sprint(v["message"]))
				return
			}
			// Conditions of the whole first: the message of a part says more, so it comes last and wins.
			for _, key := range []string{"conditions", "parents", "ancestors", "listeners"} {
				walk(v[key])
			}
		}
	}
	walk(status)
	return s
}

func (s *summary) add(typ, status, reason, message string) {
	bad := status != "True"
	if typ == "Conflicted" || typ == "PartiallyInvalid" || typ == "OverlappingTLSConfig" {
		bad = status == "True"
	}
	if s.conditions[typ] != "False" {
		s.conditions[typ] = status
	}
	// That something is not programmed follows from the rest, if anything else is wrong.
	if bad && (typ != "Programmed" || s.message == "") {
		s.message = reason + ": " + message
	}
}

// watchEvery is how often a watch looks for changes.
const watchEvery = 250 * time.Millisecond

// watch prints the list, and after that each object that changes, until the context ends.
func (c statusClient) watch(ctx context.Context, w io.Writer) error {
	seen := map[string]string{}
	for first := true; ; first = false {
		objects, err := c.get(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		var changed []statusObject
		for _, o := range objects {
			b, _ := json.Marshal(o)
			if key := o.Kind + "/" + o.name(); seen[key] != string(b) {
				seen[key] = string(b)
				changed = append(changed, o)
			}
		}
		if first || len(changed) > 0 {
			if err := c.write(w, changed); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(watchEvery):
		}
	}
}
