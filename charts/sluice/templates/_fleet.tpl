{{- /* What the fleet manager makes for each Gateway, in the Gateway's namespace; the Secret holds the certificate with which
an Envoy shows who it is. Watched, so that drift is put right. */ -}}
{{- define "sluice.rules.fleet" -}}
- apiGroups: [""]
  resources:
  - configmaps
  - secrets
  - serviceaccounts
  - services
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: ["apps"]
  resources:
  - daemonsets
  - deployments
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: ["autoscaling"]
  resources:
  - horizontalpodautoscalers
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: ["policy"]
  resources:
  - poddisruptionbudgets
  verbs: [get, list, watch, create, patch, delete]
{{- end -}}
