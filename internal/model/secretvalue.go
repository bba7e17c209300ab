package model

import "strings"

// KindSecretValue is the kind of a [BackendKey] that stands for a value of a Secret: see [SecretValue].
const KindSecretValue = "SecretValue"

// SecretValue returns the key of the value that a Secret has under a key. Requests need such a value as they need a
// backend: it has a cluster that is warm once Envoy has it, so that nothing is told to use it before.
func SecretValue(secret Name, key string) BackendKey {
	return BackendKey{Kind: KindSecretValue, Name: Name{Namespace: secret.Namespace, Name: secret.Name + "/" + key}}
}

// KindSessionKey is the kind of a [BackendKey] that stands for a secret of the control plane: see [SessionKey].
const KindSessionKey = "SessionKey"

// SessionKey returns the key of the secret with which Envoys sign and encrypt the sessions that a SecurityPolicy begins
// for what of says: nobody but the control plane knows it, and it is another one for another policy. It is had like the
// value of a Secret.
func SessionKey(policy Name, of string) BackendKey {
	return BackendKey{Kind: KindSessionKey, Name: Name{Namespace: policy.Namespace, Name: policy.Name + "/" + of}}
}

// IsValue reports whether the backend is a value that Envoys get as a secret: [SecretValue] or [SessionKey].
func (k BackendKey) IsValue() bool { return k.Kind == KindSecretValue || k.Kind == KindSessionKey }

// SecretValue returns the Secret and the key that the value is under, and false for what is no such value.
func (k BackendKey) SecretValue() (secret Name, key string, ok bool) {
	if k.Kind != KindSecretValue {
		return Name{}, "", false
	}
	name, key, ok := strings.Cut(k.Name.Name, "/")
	return Name{Namespace: k.Namespace, Name: name}, key, ok
}
