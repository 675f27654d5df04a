{{- define "cascada.deployment" -}}
{{- $all := .root.Values -}}
{{- $fullname := include "cascada.fullname" .root -}}
{{- $keepsFile := and (eq .name "query") (not $all.store.secretName) -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ include "cascada.service.fullname" . }}
  labels:
    {{- include "cascada.service.labels" . | nindent 4 }}
spec:
  {{- if not .values.autoscaling.enabled }}
  replicas: {{ .values.replicas }}
  {{- end }}
  strategy:
    {{- if $keepsFile }}
    # The volume is one pod's at a time.
    type: Recreate
    {{- else }}
    type: RollingUpdate
    rollingUpdate: {maxUnavailable: 0, maxSurge: 1}
    {{- end }}
  selector:
    matchLabels:
      {{- include "cascada.selector" . | nindent 6 }}
  template:
    metadata:
      labels:
        {{- include "cascada.service.labels" . | nindent 8 }}
      {{- with .values.annotations }}
      annotations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
    spec:
      serviceAccountName: {{ $fullname }}
      automountServiceAccountToken: false
      # Variables such as CASCADA_QUERY_PORT=tcp://… of the Services would be taken for settings.
      enableServiceLinks: false
      terminationGracePeriodSeconds: {{ add $all.shutdown.settleSeconds $all.shutdown.graceSeconds 10 }}
      {{- with $all.imagePullSecrets }}
      imagePullSecrets:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      securityContext:
        {{- toYaml $all.podSecurityContext | nindent 8 }}
      topologySpreadConstraints:
        - maxSkew: 1
          topologyKey: kubernetes.io/hostname
          whenUnsatisfiable: ScheduleAnyway
          labelSelector:
            matchLabels:
              {{- include "cascada.selector" . | nindent 14 }}
      {{- with .values.nodeSelector }}
      nodeSelector:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .values.tolerations }}
      tolerations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .values.affinity }}
      affinity:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      containers:
        - name: {{ .name }}
          image: "{{ $all.image.repository }}:{{ $all.image.tag | default .root.Chart.AppVersion }}"
          imagePullPolicy: {{ $all.image.pullPolicy }}
          args: [serve, {{ .name }}]
          securityContext:
            {{- toYaml $all.securityContext | nindent 12 }}
          env:
            {{- include "cascada.environment" . | nindent 12 }}
          ports:
            - {name: grpc, containerPort: {{ .values.service.port }}}
            - {name: metrics, containerPort: 9464}
          # Kubernetes' own gRPC probes know no TLS. These ask over a unix socket inside of the pod.
          # A service that waits for the next one is alive, and not ready.
          startupProbe:
            exec: {command: [cascada, health, {{ .name }}, --alive]}
            periodSeconds: 3
            timeoutSeconds: 5
            failureThreshold: 40
          readinessProbe:
            exec: {command: [cascada, health, {{ .name }}]}
            periodSeconds: 10
            timeoutSeconds: 5
            failureThreshold: 2
          livenessProbe:
            exec: {command: [cascada, health, {{ .name }}, --alive]}
            periodSeconds: 20
            timeoutSeconds: 10
            failureThreshold: 3
          resources:
            {{- toYaml .values.resources | nindent 12 }}
          volumeMounts:
            {{- include "cascada.mounts" . | nindent 12 }}
      volumes:
        {{- include "cascada.volumes" . | nindent 8 }}
{{- end -}}

{{- define "cascada.environment" -}}
{{- $all := .root.Values -}}
{{- $fullname := include "cascada.fullname" .root -}}
{{- $set := dict
  (printf "CASCADA_%s_PORT" (.name | upper | replace "-" "_")) (toString .values.service.port)
  "CASCADA_CONFIG_FILE" "/etc/cascada/cascada.json"
  "CASCADA_SETTLE_SECONDS" (toString $all.shutdown.settleSeconds)
  "CASCADA_GRACE_SECONDS" (toString $all.shutdown.graceSeconds)
-}}
{{- if eq .name "agent-execution" -}}
{{- $_ := set $set "CASCADA_QUERY_TARGET" (printf "dns:///%s-query:%v" $fullname $all.query.service.port) -}}
{{- else if eq .name "query" -}}
{{- $_ := set $set "CASCADA_EMBEDDING_TARGET" (printf "dns:///%s-embedding:%v" $fullname $all.embedding.service.port) -}}
{{- if $all.store.secretName -}}
{{- $_ := set $set "CASCADA_STORE_FILE" "/run/secrets/cascada-store/url" -}}
{{- end -}}
{{- end -}}
{{- if ne .name "embedding" -}}
{{- $_ := set $set "CASCADA_SERVICE_TOKEN_FILE" "/run/secrets/cascada-token/token" -}}
{{- end -}}
{{- if $all.tls.enabled -}}
{{- $_ := set $set "CASCADA_TLS_CERT_FILE" "/run/secrets/cascada-tls/tls.crt" -}}
{{- $_ := set $set "CASCADA_TLS_KEY_FILE" "/run/secrets/cascada-tls/tls.key" -}}
{{- $_ := set $set "CASCADA_TLS_CA_FILE" "/run/secrets/cascada-tls/ca.crt" -}}
{{- if $all.tls.mutual -}}
{{- $_ := set $set "CASCADA_TLS_CLIENT_CERT_FILE" "/run/secrets/cascada-tls/tls.crt" -}}
{{- $_ := set $set "CASCADA_TLS_CLIENT_KEY_FILE" "/run/secrets/cascada-tls/tls.key" -}}
{{- if ne .name "agent-execution" -}}
{{- $_ := set $set "CASCADA_TLS_CLIENT_CA_FILE" "/run/secrets/cascada-tls/ca.crt" -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if $all.allowInsecure -}}
{{- $_ := set $set "CASCADA_ALLOW_INSECURE" "1" -}}
{{- end -}}
{{- if $all.limits.secretName -}}
{{- $_ := set $set "CASCADA_LIMITS_URL_FILE" "/run/secrets/cascada-limits/url" -}}
{{- $_ := set $set "CASCADA_LIMITS_ON_FAILURE" $all.limits.onFailure -}}
{{- end -}}
{{- if $all.fingerprintKey.secretName -}}
{{- $_ := set $set "CASCADA_FINGERPRINT_KEY_FILE" "/run/secrets/cascada-fingerprint/key" -}}
{{- end -}}
{{- with $all.telemetry.otlpEndpoint -}}
{{- $_ := set $set "OTEL_EXPORTER_OTLP_ENDPOINT" . -}}
{{- end -}}
{{- range $name, $value := mergeOverwrite $set (deepCopy $all.variables) (deepCopy .values.variables) }}
- name: {{ $name }}
  value: {{ $value | toString | quote }}
{{- end }}
{{- end -}}
