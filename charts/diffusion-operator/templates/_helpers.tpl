{{/* The names of the objects: the release's, with the chart's unless it is in there already. */}}
{{- define "diffusion-operator.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "diffusion-operator.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 53 | trimSuffix "-" }}
{{- else if contains (include "diffusion-operator.name" .) .Release.Name }}
{{- .Release.Name | trunc 53 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "diffusion-operator.name" .) | trunc 53 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "diffusion-operator.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "diffusion-operator.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{/*
By these, which never change, the Deployment and the Service know the operator's pods. By the name alone the servers'
NetworkPolicies do, so nothing overrides it.
*/}}
{{- define "diffusion-operator.selector" -}}
app.kubernetes.io/name: diffusion-operator
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end }}

{{/* Labels of an object. component: what it belongs to. */}}
{{- define "diffusion-operator.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "diffusion-operator.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | replace "+" "_" | trunc 63 | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: diffusion-operator
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* registry/repository:tag or @digest, of (list root image). */}}
{{- define "diffusion-operator.image" -}}
{{- $root := index . 0 }}
{{- $image := index . 1 }}
{{- $name := printf "%s/%s" (default $image.registry $root.Values.global.imageRegistry) $image.repository }}
{{- if $image.digest }}
{{- printf "%s@%s" $name $image.digest }}
{{- else }}
{{- printf "%s:%s" $name (default $root.Chart.AppVersion $image.tag) }}
{{- end }}
{{- end }}

{{/* What the operator may do with the objects of the namespaces that it works in. */}}
{{- define "diffusion-operator.rules" -}}
- apiGroups: [diffusion-operator.dev]
  resources: [diffusionservices]
  verbs: [get, list, watch]
- apiGroups: [diffusion-operator.dev]
  resources: [diffusionservices/status]
  verbs: [patch]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [services, serviceaccounts, persistentvolumeclaims]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [monitoring.coreos.com]
  resources: [podmonitors]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch]
- apiGroups: [""]
  resources: [pods/log]
  verbs: [get]
# Only an event tells why a volume of a pod can't be mounted, a missing Secret for one.
- apiGroups: [""]
  resources: [events]
  verbs: [list]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}
