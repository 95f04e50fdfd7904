{{- define "curbwatch.labels" -}}
app.kubernetes.io/name: curbwatch
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- end }}

{{- define "curbwatch.selector" -}}
{app.kubernetes.io/name: curbwatch, app.kubernetes.io/instance: {{ .root.Release.Name }}, app.kubernetes.io/component: {{ .component }}}
{{- end }}

{{- define "curbwatch.pod" -}}
automountServiceAccountToken: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile: {type: RuntimeDefault}
{{- with .Values.image.pullSecrets }}
imagePullSecrets: {{ toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "curbwatch.container" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{- define "curbwatch.secret" -}}
valueFrom: {secretKeyRef: {name: {{ required "a secret needs a name" .name }}, key: {{ required "a secret needs a key" .key }}}}
{{- end }}

{{- define "curbwatch.apiEnv" -}}
- name: CURBWATCH_API_DATABASE_URL
  {{- include "curbwatch.secret" .Values.api.secrets.database | nindent 2 }}
- name: CURBWATCH_API_S3_ACCESS_KEY
  {{- include "curbwatch.secret" .Values.api.secrets.s3KeyId | nindent 2 }}
- name: CURBWATCH_API_S3_SECRET_KEY
  {{- include "curbwatch.secret" .Values.api.secrets.s3Key | nindent 2 }}
- {name: CURBWATCH_API_EVIDENCE_URL, value: {{ .Values.api.evidenceUrl | quote }}}
- {name: CURBWATCH_API_S3_REGION, value: {{ .Values.api.s3Region | quote }}}
{{- with .Values.api.s3Endpoint }}
- {name: CURBWATCH_API_S3_ENDPOINT, value: {{ . | quote }}}
{{- end }}
- {name: CURBWATCH_API_PACK, value: {{ .Values.api.pack | quote }}}
- {name: CURBWATCH_API_MIGRATE_AT_START, value: "false"}
{{- range $name, $value := .Values.api.env }}
- {name: {{ $name }}, value: {{ $value | quote }}}
{{- end }}
{{- end }}
