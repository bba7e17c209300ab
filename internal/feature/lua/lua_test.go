package lua

import (
	"strings"
	"testing"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	"github.com/yuin/gopher-lua/parse"
	"google.golang.org/protobuf/types/known/structpb"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/feature/featuretest"
	"github.com/sluice-gateway/sluice/internal/model"
)

// list is what the feature gets.
type list = []egv1a1.Lua

func TestGolden(t *testing.T) { featuretest.Golden[list](t, Feature{Allowed: true}) }

// TestA16Lua says which scripts are refused.
func TestA16Lua(t *testing.T) {
	inline := func(code string) list { return list{{Type: egv1a1.LuaValueTypeInline, Inline: &code}} }
	byRef := list{{Type: egv1a1.LuaValueTypeValueRef, ValueRef: &gwv1.LocalObjectReference{Kind: "ConfigMap", Name: "x"}}}
	withContext := inline("x = 1")
	withContext[0].FilterContext = &apiextensionsv1.JSON{Raw: []byte(`["no", "object"]`)}
	object := func(kind string, data map[string]string) []model.Object {
		return []model.Object{featuretest.Object{Kind: kind, Name: "x", Data: data}.Model()}
	}
	for name, test := range map[string]struct {
		spec    list
		objects []model.Object
		want    string
	}{
		"right":       {inline("goto done\n::done::\nfunction envoy_on_request(h) h:logInfo('\\n') end"), nil, ""},
		"no syntax":   {inline("function envoy_on_request(h)\n  h:logInfo(\nend"), nil, "cannot be parsed: script line:3"},
		"compiled":    {inline("\x1bLJ\x02"), nil, "Compiled Lua is not run"},
		"empty":       {inline(" \n"), nil, "The script is empty"},
		"context":     {withContext, nil, "not a JSON object"},
		"Secret":      {byRef, object("Secret", map[string]string{"lua": "x = 1"}), "is not a ConfigMap"},
		"no key":      {byRef, object("ConfigMap", nil), "has no key lua"},
		"from object": {byRef, object("ConfigMap", map[string]string{"lua": "x = 1"}), ""},
	} {
		t.Run(name, func(t *testing.T) {
			a := model.Attached{Spec: test.spec, Objects: test.objects}
			featuretest.Expect(t, Feature{Allowed: true}.Check(a, nil), test.want)
		})
	}
	featuretest.Expect(t, Feature{}.Check(model.Attached{Spec: inline("x = 1")}, nil), "--enable-lua")
}

// TestQuote says that nothing in a script ends the string that it is in.
func TestQuote(t *testing.T) {
	for code, level := range map[string]string{
		"x = 1": "", "a[b[1]]": "=", "]]": "=", "]": "", "]]..']=]'": "==", "--]==]": "",
	} {
		if got, want := quote(code), "["+level+"[\n"+code+"\n]"+level+"]"; got != want {
			t.Errorf("%q is quoted as %q, want %q", code, got, want)
		}
	}
}

// TestA13Context says that nothing in a context is anything but a value.
func TestA13Context(t *testing.T) {
	context, err := structpb.NewStruct(map[string]any{
		"a\"]=os": "]]\n\\\x00%é", "b": []any{true, nil, -1.5, 1e300}, "c": map[string]any{},
	})
	if err != nil {
		t.Fatal(err)
	}
	const want = `{["a\034\093\061os"]="\093\093\010\092\000\037\195\169",` +
		`["b"]={[1]=true,[2]=nil,[3]=-1.5,[4]=1e+300},["c"]={}}`
	if got := literal(structpb.NewStructValue(context)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if _, err := parse.Parse(strings.NewReader(loader("x = 1", context)), "loader"); err != nil {
		t.Error(err)
	}
}
