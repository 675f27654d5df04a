{{- /* Folders, never single files of them: a mounted file would not follow its Secret's changes. */ -}}

{{- define "cascada.mounts" -}}
{{- $all := .root.Values -}}
- {name: tmp, mountPath: /tmp}
- {name: sockets, mountPath: /run/cascada}
- {name: data, mountPath: /data}
- {name: configuration, mountPath: /etc/cascada, readOnly: true}
{{- if $all.tls.enabled }}
- {name: tls, mountPath: /run/secrets/cascada-tls, readOnly: true}
{{- end }}
{{- if ne .name "embedding" }}
- {name: token, mountPath: /run/secrets/cascada-token, readOnly: true}
{{- end }}
{{- if and (eq .name "query") $all.store.secretName }}
- {name: store, mountPath: /run/secrets/cascada-store, readOnly: true}
{{- end }}
{{- if $all.limits.secretName }}
- {name: limits, mountPath: /run/secrets/cascada-limits, readOnly: true}
{{- end }}
{{- if $all.fingerprintKey.secretName }}
- {name: fingerprint, mountPath: /run/secrets/cascada-fingerprint, readOnly: true}
{{- end }}
{{- $name := .name }}
{{- range $all.secretFiles }}
{{- if has $name .services }}
- {name: {{ printf "files-%s" .name }}, mountPath: {{ printf "/run/secrets/cascada/%s" .name }}, readOnly: true}
{{- end }}
{{- end }}
{{- end -}}

{{- define "cascada.volumes" -}}
{{- $all := .root.Values -}}
{{- $fullname := include "cascada.fullname" .root -}}
- name: tmp
  emptyDir: {sizeLimit: 256Mi}
- name: sockets
  emptyDir: {medium: Memory, sizeLimit: 1Mi}
- name: data
  {{- if and (eq .name "query") (not $all.store.secretName) }}
  persistentVolumeClaim: {claimName: {{ $fullname }}-store}
  {{- else }}
  emptyDir: {sizeLimit: 256Mi}
  {{- end }}
- name: configuration
  {{- if $all.existingConfiguration.secret }}
  secret: {secretName: {{ $all.existingConfiguration.secret }}, defaultMode: 0440}
  {{- else }}
  configMap: {name: {{ $all.existingConfiguration.configMap | default (printf "%s-configuration" $fullname) }}}
  {{- end }}
{{- if $all.tls.enabled }}
- name: tls
  secret: {secretName: {{ include "cascada.tls.secret" . }}, defaultMode: 0440}
{{- end }}
{{- if ne .name "embedding" }}
- name: token
  secret:
    secretName: {{ $all.serviceTokens.secretName | default (printf "%s-service-tokens" $fullname) }}
    defaultMode: 0440
    items:
      # Each service gets its own token, and no other's.
      - {key: {{ .name }}, path: token}
{{- end }}
{{- if and (eq .name "query") $all.store.secretName }}
- name: store
  secret: {secretName: {{ $all.store.secretName }}, defaultMode: 0440}
{{- end }}
{{- if $all.limits.secretName }}
- name: limits
  secret: {secretName: {{ $all.limits.secretName }}, defaultMode: 0440}
{{- end }}
{{- if $all.fingerprintKey.secretName }}
- name: fingerprint
  secret: {secretName: {{ $all.fingerprintKey.secretName }}, defaultMode: 0440}
{{- end }}
{{- $name := .name }}
{{- range $all.secretFiles }}
{{- if has $name .services }}
- name: {{ printf "files-%s" .name }}
  secret: {secretName: {{ .secretName }}, defaultMode: 0440}
{{- end }}
{{- end }}
{{- end -}}
