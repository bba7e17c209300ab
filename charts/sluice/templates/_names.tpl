{{- define "sluice.name" -}}
{{- .Values.fullnameOverride | default .Release.Name | trunc 53 | trimSuffix "-" -}}
{{- end -}}

{{- /* What objects without a namespace of the release's own are named after: no other release has it. */ -}}
{{- define "sluice.installation" -}}
{{- .Release.Namespace }}.{{ include "sluice.name" . }}
{{- end -}}

{{- /* The file of values.config, which Envoy Gateway's chart has under config.envoyGateway. */ -}}
{{- define "sluice.config" -}}
{{- toYaml (dig "envoyGateway" .Values.config .Values.config) -}}
{{- end -}}

{{- /* What the file of values.config says, or else the values: YAML lists. */ -}}
{{- define "sluice.controllerNames" -}}
{{- with dig "gateway" "controllerName" "" (include "sluice.config" . | fromYaml) -}}
{{- toYaml (list .) -}}
{{- else -}}
{{- toYaml .Values.controllerNames -}}
{{- end -}}
{{- end -}}

{{- define "sluice.watchNamespaces" -}}
{{- toYaml (dig "provider" "kubernetes" "watch" "namespaces" .Values.watchNamespaces (include "sluice.config" . | fromYaml)) -}}
{{- end -}}

{{- /* What sluice ratelimit needs to know of Redis: url, urlSecret and tlsSecret. */ -}}
{{- define "sluice.redis" -}}
{{- $redis := dig "rateLimit" "backend" "redis" dict (include "sluice.config" . | fromYaml) -}}
{{- $ref := dig "urlRef" "secretKeyRef" dict $redis -}}
{{- $own := .Values.rateLimit.redis -}}
{{- $secret := $own.urlSecret -}}
{{- if and $ref (not $own.url) (not $secret) -}}
{{- $secret = dict "name" $ref.name "key" $ref.key -}}
{{- end -}}
{{- $tls := $own.tlsSecret | default (dig "tls" "certificateRef" "name" "" $redis) -}}
{{- toYaml (dict "url" $own.url "urlSecret" $secret "tlsSecret" $tls "configured" (not (empty $redis))) -}}
{{- end -}}

{{- define "sluice.configMap" -}}
{{- include "sluice.name" . }}-config
{{- end -}}

{{- define "sluice.selector" -}}
app.kubernetes.io/name: sluice
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: control-plane
{{- end -}}

{{- define "sluice.ratelimit" -}}
{{- include "sluice.name" . | trunc 43 | trimSuffix "-" -}}-ratelimit
{{- end -}}

{{- define "sluice.ratelimitSelector" -}}
app.kubernetes.io/name: sluice
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: ratelimit
{{- end -}}

{{- define "sluice.labels" -}}
{{ include "sluice.selector" . }}
{{ include "sluice.commonLabels" . }}
{{- end -}}

{{- define "sluice.ratelimitLabels" -}}
{{ include "sluice.ratelimitSelector" . }}
{{ include "sluice.commonLabels" . }}
{{- end -}}

{{- define "sluice.commonLabels" -}}
app.kubernetes.io/part-of: sluice
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "sluice.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (include "sluice.name" .) -}}
{{- end -}}

{{- define "sluice.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end -}}
