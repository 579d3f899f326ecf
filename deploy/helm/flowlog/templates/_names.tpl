{{- define "flowlog.selector" -}}
app.kubernetes.io/name: flowlog
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "flowlog.priorityClass" -}}
{{- .Values.priorityClass.name | default (ternary .Release.Name "" .Values.priorityClass.create) -}}
{{- end -}}

{{- define "flowlog.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Where a probe asks: at the pod's address, or at the loopback one, which is the kubelet's, too. */}}
{{- define "flowlog.probe" -}}
httpGet:
  {{- if eq .listen "loopback" }}
  host: 127.0.0.1
  {{- end }}
  port: 12477
  path: {{ .path }}
{{- end -}}

{{/* The configuration file: what `config` says, and where lines go where some go over the network. */}}
{{- define "flowlog.config" -}}
{{- $config := deepCopy .Values.config }}
{{- if .Values.outputs }}
{{- $own := list }}
{{- if .Values.logFolder }}
{{- $own = append $own "/var/log/flowlog/flows.json" }}
{{- end }}
{{- if .Values.logStdout }}
{{- $own = append $own "stdout" }}
{{- end }}
{{- $_ := set $config "outputs" (concat $own .Values.outputs) }}
{{- end }}
{{- toYaml $config }}
{{- end }}
