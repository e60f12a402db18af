{{/* Names. Everything stays within the 63 characters that labels and Services allow. */}}

{{- define "tokwatt.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "tokwatt.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else if contains (include "tokwatt.name" .) .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- include "tokwatt.shortened" (printf "%s-%s" .Release.Name (include "tokwatt.name" .)) -}}
{{- end -}}
{{- end -}}

{{/* A name cut to 63 characters; what was cut lives on in a checksum, so that two long names stay two. */}}
{{- define "tokwatt.shortened" -}}
{{- if gt (len .) 63 -}}
{{- printf "%s-%s" (. | trunc 54 | trimSuffix "-") (. | sha256sum | trunc 8) -}}
{{- else -}}
{{- . -}}
{{- end -}}
{{- end -}}

{{- define "tokwatt.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "tokwatt.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "tokwatt.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{/* Labels of every object. The chart's version is in none of the selectors: they can never be changed. */}}
{{- define "tokwatt.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "tokwatt.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.labels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "tokwatt.selectorLabels" -}}
app.kubernetes.io/name: {{ include "tokwatt.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "tokwatt.config" -}}
{{- .Values.configText | default (toYaml .Values.config) | trimSuffix "\n" -}}
{{- end -}}

{{/* Mistakes that the schema cannot see. */}}
{{- define "tokwatt.check" -}}
{{- if and .Values.demo (eq .Values.mode "sidecar") -}}
{{- fail "demo: true needs a pod of its own; set mode: central" -}}
{{- end -}}
{{- if and .Values.config .Values.configText -}}
{{- fail "give config or configText, not both" -}}
{{- end -}}
{{- if and .Values.web.tls (not .Values.web.secret) -}}
{{- fail "web.tls: true needs web.secret, the Secret with web-config.yml and its certificate" -}}
{{- end -}}
{{- end -}}
