{{/* The pod of the Deployment and of the DaemonSet. */}}
{{- define "tokwatt.pod" -}}
metadata:
  annotations:
    # A changed configuration starts new pods; totals start at 0 there, which rate() and increase() know how to read.
    checksum/config: {{ include "tokwatt.config" . | sha256sum }}
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  labels:
    {{- include "tokwatt.labels" . | nindent 4 }}
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "tokwatt.serviceAccountName" . }}
  automountServiceAccountToken: false
  # Variables of every Service of the namespace could pass for settings.
  enableServiceLinks: false
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if and .Values.nvidia.enabled .Values.nvidia.runtimeClassName }}
  runtimeClassName: {{ .Values.nvidia.runtimeClassName }}
  {{- end }}
  {{- with .Values.podSecurityContext }}
  securityContext:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    {{- include "tokwatt.container" (dict "root" . "sidecar" false) | nindent 4 }}
  {{- with include "tokwatt.volumes" . | trim }}
  volumes:
    {{- . | nindent 4 }}
  {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
{{- end -}}
