package dynamicmodule

import (
	"testing"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"

	"github.com/sluice-gateway/sluice/internal/feature/featuretest"
	"github.com/sluice-gateway/sluice/internal/model"
)

func TestGolden(t *testing.T) {
	featuretest.Golden[[]egv1a1.DynamicModule](t, Feature{})
}

// TestA18PathsOfModules: a policy can name what is registered and nothing else, and what is registered is a file.
func TestA18PathsOfModules(t *testing.T) {
	remote := new(egv1a1.RemoteDynamicModuleSourceType)
	local := func(path string) egv1a1.DynamicModuleSource {
		return egv1a1.DynamicModuleSource{Local: &egv1a1.LocalDynamicModuleSource{Path: path}}
	}
	for _, tt := range []struct {
		name   string
		source egv1a1.DynamicModuleSource
		want   string
	}{
		{"known", local("/lib/known.so"), ""},
		{"other", local("/lib/known.so"), "No module \"other\" is registered"},
		{"../known", local("/lib/known.so"), "No module \"../known\" is registered"},
		{"known", local("/lib/../etc/known.so"), "without . and .."},
		{"known", local("/lib//known.so"), "without . and .."},
		{"known", local("known.so"), "absolute"},
		{"known", local("../known.so"), "absolute"},
		{"known", local("/lib/known.so\x00"), "absolute"},
		{"known", egv1a1.DynamicModuleSource{}, "register source.local.path"},
		{"known", egv1a1.DynamicModuleSource{Type: remote, Remote: &egv1a1.RemoteDynamicModuleSource{URL: "https://a/b"}},
			"requests would pass without it"},
	} {
		a := model.Attached{
			Spec:  []egv1a1.DynamicModule{{Name: tt.name}},
			Proxy: &egv1a1.EnvoyProxySpec{DynamicModules: []egv1a1.DynamicModuleEntry{{Name: "known", Source: tt.source}}},
		}
		featuretest.Expect(t, Feature{}.CheckProxy(a), tt.want)
	}
	a := model.Attached{Spec: []egv1a1.DynamicModule{{Name: "known"}}}
	featuretest.Expect(t, Feature{}.CheckProxy(a), "is registered for the Gateway")
}
