{{/*
The container, the same in all modes. Argument: a dict with `root` (the context of this chart) and `sidecar`.
*/}}
{{- define "tokwatt.container" -}}
{{- $values := .root.Values -}}
- name: tokwatt
  image: {{ include "tokwatt.image" .root | quote }}
  imagePullPolicy: {{ $values.image.pullPolicy }}
  {{- if and .sidecar $values.sidecar.native }}
  restartPolicy: Always
  {{- end }}
  args:
    - --log-level={{ $values.logLevel }}
    {{- if $values.demo }}
    - demo
    {{- else }}
    - run
    - --config=/etc/tokwatt/config/tokwatt.yaml
    {{- end }}
    - --listen=:9844
    {{- if and $values.web.secret (not $values.demo) }}
    - --web.config.file=/etc/tokwatt/web/web-config.yml
    {{- end }}
  {{- if or $values.nvidia.enabled $values.env }}
  env:
    {{- if $values.nvidia.enabled }}
    - name: NVIDIA_VISIBLE_DEVICES
      value: {{ $values.nvidia.visibleDevices | quote }}
    # Utility is NVML and nothing that computes.
    - name: NVIDIA_DRIVER_CAPABILITIES
      value: utility
    {{- end }}
    {{- with $values.env }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- end }}
  ports:
    - name: tokwatt
      containerPort: 9844
      protocol: TCP
  {{- include "tokwatt.probes" . | nindent 2 }}
  {{- with $values.securityContext }}
  securityContext:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.resources }}
  resources:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if or (not $values.demo) $values.extraVolumeMounts }}
  volumeMounts:
    {{- if not $values.demo }}
    - name: tokwatt-config
      mountPath: /etc/tokwatt/config
      readOnly: true
    {{- range $values.secrets }}
    - name: {{ include "tokwatt.secretVolume" .name }}
      mountPath: /etc/tokwatt/secrets/{{ .name }}
      readOnly: true
    {{- end }}
    {{- if $values.web.secret }}
    - name: tokwatt-web
      mountPath: /etc/tokwatt/web
      readOnly: true
    {{- end }}
    {{- end }}
    {{- with $values.extraVolumeMounts }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- end }}
{{- end -}}

{{- define "tokwatt.secretVolume" -}}
{{- include "tokwatt.shortened" (printf "tokwatt-secret-%s" (. | replace "." "-")) -}}
{{- end -}}

{{- define "tokwatt.volumes" -}}
{{- if not .Values.demo }}
- name: tokwatt-config
  configMap:
    name: {{ include "tokwatt.fullname" . }}
{{- range .Values.secrets }}
- name: {{ include "tokwatt.secretVolume" .name }}
  secret:
    secretName: {{ .name }}
    {{- if .optional }}
    optional: true
    {{- end }}
    # 0444: readable for the container's user, whose number the pod may choose; no other container mounts this volume.
    defaultMode: 292
{{- end }}
{{- with .Values.web.secret }}
- name: tokwatt-web
  secret:
    secretName: {{ . }}
    defaultMode: 292
{{- end }}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/*
Alive is /healthz. Ready differs by mode, see `probes.readinessPath` in values.yaml. A sidecar has no startup probe
either: as a native sidecar it would keep the inference server from starting.
*/}}
{{- define "tokwatt.probes" -}}
{{- $values := .root.Values -}}
{{- if ne $values.probes.kind "none" -}}
{{- $alive := dict "root" .root "path" "/healthz" -}}
{{- if not .sidecar -}}
startupProbe:
  {{- include "tokwatt.probe" $alive | nindent 2 }}
  periodSeconds: 2
  failureThreshold: 30
{{ end -}}
livenessProbe:
  {{- include "tokwatt.probe" $alive | nindent 2 }}
  periodSeconds: 20
  timeoutSeconds: 5
  failureThreshold: 3
{{- if .sidecar }}
  initialDelaySeconds: 20
{{- else }}
{{- $path := $values.probes.readinessPath | default (ternary "/readyz" "/healthz" (and (eq $values.mode "central") (not $values.web.secret))) }}
readinessProbe:
  {{- include "tokwatt.probe" (dict "root" .root "path" $path) | nindent 2 }}
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 3
{{- end }}
{{- end -}}
{{- end -}}

{{- define "tokwatt.probe" -}}
{{- if eq .root.Values.probes.kind "tcp" -}}
tcpSocket:
  port: tokwatt
{{- else -}}
httpGet:
  path: {{ .path }}
  port: tokwatt
  {{- if .root.Values.web.tls }}
  scheme: HTTPS
  {{- end }}
{{- end -}}
{{- end -}}
