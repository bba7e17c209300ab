package resource

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// maxDataSize is the API server's limit, in bytes, of the values of a Secret or ConfigMap together.
const maxDataSize = corev1.MaxSecretSize

func defaultSecret(s *corev1.Secret) {
	if s.Type == "" {
		s.Type = corev1.SecretTypeOpaque
	}
	if len(s.StringData) > 0 && s.Data == nil {
		s.Data = make(map[string][]byte, len(s.StringData))
	}
	for key, text := range s.StringData {
		s.Data[key] = []byte(text)
	}
	s.StringData = nil
}

func checkSecret(s *corev1.Secret) field.ErrorList {
	data := field.NewPath("data")
	errs, size := checkData(data, s.Data)
	if size > maxDataSize {
		errs = append(errs, field.TooLong(data, "", maxDataSize))
	}
	if s.Type == corev1.SecretTypeTLS {
		for _, key := range []string{corev1.TLSCertKey, corev1.TLSPrivateKeyKey} {
			if _, ok := s.Data[key]; !ok {
				errs = append(errs, field.Required(data.Key(key), ""))
			}
		}
	}
	return errs
}

func checkConfigMap(c *corev1.ConfigMap) field.ErrorList {
	errs, size := checkData(field.NewPath("data"), c.Data)
	binaryErrs, binarySize := checkData(field.NewPath("binaryData"), c.BinaryData)
	errs = append(errs, binaryErrs...)
	for _, key := range slices.Sorted(maps.Keys(c.BinaryData)) {
		if _, ok := c.Data[key]; ok {
			errs = append(errs, field.Invalid(field.NewPath("data").Key(key), key, "duplicate of key present in binaryData"))
		}
	}
	if size+binarySize > maxDataSize {
		errs = append(errs, field.TooLong(field.NewPath(""), "", maxDataSize))
	}
	return errs
}

// checkData validates the keys of a map of data and returns the size of its values.
func checkData[V string | []byte](path *field.Path, data map[string]V) (field.ErrorList, int) {
	var errs field.ErrorList
	size := 0
	for _, key := range slices.Sorted(maps.Keys(data)) {
		errs = append(errs, each(path.Key(key), key, validation.IsConfigMapKey(key))...)
		size += len(data[key])
	}
	return errs, size
}
