package charts

import (
	"bytes"
	"fmt"
	"io/fs"
	"strings"

	"helm.sh/helm/v4/pkg/chart/common"
	valueutil "helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/loader/archive"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	chartutil "helm.sh/helm/v4/pkg/chart/v2/util"
	"helm.sh/helm/v4/pkg/engine"
	releaseutil "helm.sh/helm/v4/pkg/release/v1/util"
)

// Release is what an installation differs in from the defaults of the chart.
type Release struct {
	// Name is the name of the release: that of most objects.
	Name string
	// Namespace is where the control plane runs.
	Namespace string
	// Version is the tag of the image; empty is the chart's appVersion.
	Version string
	// Values override those in values.yaml.
	Values map[string]any
}

// Manifests are the objects of a release as YAML documents.
type Manifests struct {
	// CRDs come first: what else there is needs them.
	CRDs []string
	// Objects are in the order in which Helm installs them.
	Objects []string
}

// Render renders the chart as `helm template` does. It fails if the values do not meet the chart's schema.
func (r Release) Render() (Manifests, error) {
	c, err := load()
	if err != nil {
		return Manifests{}, fmt.Errorf("load the chart: %w", err)
	}
	if r.Version != "" {
		c.Metadata.AppVersion = r.Version
	}
	if err := chartutil.ProcessDependencies(c, r.Values); err != nil {
		return Manifests{}, fmt.Errorf("choose the CRDs: %w", err)
	}
	options := common.ReleaseOptions{Name: r.Name, Namespace: r.Namespace, Revision: 1, IsInstall: true}
	values, err := valueutil.ToRenderValues(c, r.Values, options, common.DefaultCapabilities)
	if err != nil {
		return Manifests{}, err
	}
	files, err := engine.Render(c, values)
	if err != nil {
		return Manifests{}, fmt.Errorf("render the chart: %w", err)
	}
	var out Manifests
	for _, definition := range c.CRDObjects() {
		out.CRDs = append(out.CRDs, string(definition.File.Data))
	}
	for name := range files {
		if strings.HasSuffix(name, "NOTES.txt") {
			delete(files, name)
		}
	}
	_, sorted, err := releaseutil.SortManifests(files, nil, releaseutil.InstallOrder)
	if err != nil {
		return Manifests{}, fmt.Errorf("sort the manifests: %w", err)
	}
	for _, m := range sorted {
		out.Objects = append(out.Objects, m.Content)
	}
	return out, nil
}

// load reads the chart with the charts in it.
func load() (*chart.Chart, error) {
	var list []*archive.BufferedFile
	sluice := Sluice()
	err := fs.WalkDir(sluice, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := fs.ReadFile(sluice, name)
		list = append(list, &archive.BufferedFile{Name: name, Data: data})
		return err
	})
	if err != nil {
		return nil, err
	}
	return loader.LoadFiles(list)
}

// String joins all manifests to one stream of YAML documents.
func (m Manifests) String() string {
	var out bytes.Buffer
	for _, list := range [][]string{m.CRDs, m.Objects} {
		for _, doc := range list {
			out.WriteString("---\n")
			out.WriteString(strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(doc), "---")))
			out.WriteByte('\n')
		}
	}
	return out.String()
}
