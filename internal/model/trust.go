package model

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
)

// Trust says who is trusted to sign the certificates of a peer: a set of CA bundles, or the CAs that come with the
// system that a proxy runs on. The zero value trusts nobody. It is named after the objects that hold the bundles, so
// whatever trusts the same objects shares one resource, and a bundle can change without anything that names it.
type Trust struct {
	// refs are the bundles as kind/namespace/name, sorted and joined by commas.
	refs string
}

// SystemTrust trusts the CAs of the system that a proxy runs on.
var SystemTrust = Trust{refs: "system"}

// trustKinds are the kinds of objects that can hold a CA bundle.
var trustKinds = map[string]Ref{
	"configmap":          {Kind: KindConfigMap},
	"secret":             {Kind: KindSecret},
	"clustertrustbundle": {Group: GroupCertificates, Kind: KindClusterTrustBundle},
}

// TrustIn returns the trust in the bundles that objects hold: ConfigMaps, Secrets and ClusterTrustBundles.
func TrustIn(bundles []Ref) Trust {
	texts := make([]string, len(bundles))
	for i, b := range bundles {
		texts[i] = strings.ToLower(b.Kind) + "/" + b.Name.String() // no name has "/" or ","
	}
	slices.Sort(texts)
	return Trust{refs: strings.Join(slices.Compact(texts), ",")}
}

// Bundles returns the objects that hold the bundles, sorted by kind and name; none for the zero value and
// [SystemTrust].
func (t Trust) Bundles() []Ref {
	if t == (Trust{}) || t == SystemTrust {
		return nil
	}
	var out []Ref
	for _, text := range strings.Split(t.refs, ",") {
		kind, name, _ := strings.Cut(text, "/")
		ref := trustKinds[kind]
		ref.Name.Name = name
		if namespace, rest, ok := strings.Cut(name, "/"); ok {
			ref.Name = Name{Namespace: namespace, Name: rest}
		}
		out = append(out, ref)
	}
	return out
}

// Compare orders trusts by the names of their bundles.
func (t Trust) Compare(o Trust) int { return strings.Compare(t.refs, o.refs) }

// maxTrustName is the length from which on the name of a trust is a hash of its bundles.
const maxTrustName = 200

// String is the name of the Envoy secret: "ca:" and the bundles, or a hash of them if they are many. No other secret
// has a colon in its name.
func (t Trust) String() string {
	if len(t.refs) > maxTrustName {
		sum := sha256.Sum256([]byte(t.refs))
		return "ca:" + hex.EncodeToString(sum[:16])
	}
	return "ca:" + t.refs
}
