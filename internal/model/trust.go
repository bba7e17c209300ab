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
	// refs are the bundles as kind/namespace/name, sorted and joined by commas; behind a semicolon, in the same way, the
	// objects with what is revoked.
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
func TrustIn(bundles []Ref) Trust { return Trust{refs: joinRefs(bundles)} }

// revocation stands between the bundles and the objects with what is revoked.
const revocation = ";"

// But returns the same trust in all certificates but those that are revoked by the lists in objects: ConfigMaps and
// Secrets.
func (t Trust) But(revoked []Ref) Trust {
	if len(revoked) == 0 {
		return t
	}
	return Trust{refs: t.refs + revocation + joinRefs(revoked)}
}

func joinRefs(refs []Ref) string {
	texts := make([]string, len(refs))
	for i, ref := range refs {
		texts[i] = strings.ToLower(ref.Kind) + "/" + ref.Name.String() // no name has "/", "," or ";"
	}
	slices.Sort(texts)
	return strings.Join(slices.Compact(texts), ",")
}

// Bundles returns the objects that hold the bundles, sorted by kind and name; none for the zero value and
// [SystemTrust].
func (t Trust) Bundles() []Ref {
	if t == SystemTrust {
		return nil
	}
	bundles, _, _ := strings.Cut(t.refs, revocation)
	return splitRefs(bundles)
}

// Revoked returns the objects with lists of certificates that are revoked, sorted by kind and name.
func (t Trust) Revoked() []Ref {
	_, revoked, _ := strings.Cut(t.refs, revocation)
	return splitRefs(revoked)
}

func splitRefs(refs string) []Ref {
	if refs == "" {
		return nil
	}
	var out []Ref
	for _, text := range strings.Split(refs, ",") {
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
