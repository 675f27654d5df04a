{{- /* Every template of a service gets a dictionary: root, name (query), values (of that service). */ -}}

{{- define "cascada.fullname" -}}
{{- if contains "cascada" .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-cascada" .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "cascada.service.fullname" -}}
{{ include "cascada.fullname" .root }}-{{ .name }}
{{- end -}}

{{- define "cascada.selector" -}}
app.kubernetes.io/name: cascada
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .name }}
{{- end -}}

{{- define "cascada.labels" -}}
app.kubernetes.io/name: cascada
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{- define "cascada.service.labels" -}}
{{ include "cascada.labels" .root }}
app.kubernetes.io/component: {{ .name }}
{{- end -}}

{{- define "cascada.tls.secret" -}}
{{ get .root.Values.tls.secretNames .key | default (printf "%s-tls" (include "cascada.service.fullname" .)) }}
{{- end -}}

{{- /* The services with what each of them is called. */ -}}
{{- define "cascada.services" -}}
agent-execution: agentExecution
query: query
embedding: embedding
{{- end -}}

{{- /* How many pods there are at least; one query pod owns the SQLite file. */ -}}
{{- define "cascada.least" -}}
{{- if .values.autoscaling.enabled }}{{ .values.autoscaling.minReplicas }}{{ else }}{{ .values.replicas }}{{ end -}}
{{- end -}}

{{- define "cascada.check" -}}
{{- $v := .Values -}}
{{- if not (or $v.tls.enabled $v.allowInsecure) -}}
{{- fail "tls.enabled is false: the services start without TLS only with allowInsecure=true" -}}
{{- end -}}
{{- if not $v.store.secretName -}}
{{- if or $v.query.autoscaling.enabled (gt (int $v.query.replicas) 1) -}}
{{- fail "query has several pods, which can't share a SQLite file: name a Secret with the URL of a PostgreSQL or Milvus in store.secretName" -}}
{{- end -}}
{{- end -}}
{{- if and $v.tls.certManager.enabled (not $v.tls.certManager.issuer.name) -}}
{{- fail "tls.certManager.issuer.name is empty: name the issuer of the certificates" -}}
{{- end -}}
{{- end -}}
