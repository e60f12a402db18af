{{/*
For charts that depend on this one with `mode: sidecar`. Argument: the context of this chart, `.Subcharts.tokwatt`
(under the dependency's alias, where it has one). All three go into the pod template of the inference server.

  metadata:
    labels:
      {{- include "tokwatt.sidecar.labels" .Subcharts.tokwatt | nindent 8 }}
    annotations:
      {{- include "tokwatt.sidecar.annotations" .Subcharts.tokwatt | nindent 8 }}
  spec:
    containers:
      {{- include "tokwatt.sidecar" .Subcharts.tokwatt | nindent 8 }}
    volumes:
      {{- include "tokwatt.sidecar.volumes" .Subcharts.tokwatt | nindent 8 }}
*/}}

{{- define "tokwatt.sidecar" -}}
{{- include "tokwatt.container" (dict "root" . "sidecar" true) -}}
{{- end -}}

{{- define "tokwatt.sidecar.volumes" -}}
{{- include "tokwatt.volumes" . | trim -}}
{{- end -}}

{{/* The PodMonitor finds the pods by this label. Its value is this release's own, so that two releases do not mix. */}}
{{- define "tokwatt.sidecar.labels" -}}
tokwatt/sidecar: {{ include "tokwatt.fullname" . }}
{{- end -}}

{{- define "tokwatt.sidecar.annotations" -}}
checksum/tokwatt-config: {{ include "tokwatt.config" . | sha256sum }}
{{- end -}}
