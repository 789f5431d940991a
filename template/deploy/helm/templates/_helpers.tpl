{{/*
Labels that the platform asks for, on every object and every pod, and those that Kubernetes
recommends. Takes `root`, and `component`: api, migration, database, backup or test.
*/}}
{{- define "application.labels" -}}
{{- $database := eq .component "database" -}}
app: {{ .root.Values.fullnameOverride | quote }}
component: {{ ternary "postgres" "python" $database }}
criticality: {{ .root.Values.criticality }}
env: {{ .root.Values.environment.label }}
tier: {{ ternary "db" "backend" $database }}
{{ include "application.selectorLabels" . }}
app.kubernetes.io/part-of: {{ .root.Values.project | quote }}
{{- end }}

{{/* The labels that never change, so that selectors may use them. Takes what `labels` takes. */}}
{{- define "application.selectorLabels" -}}
app.kubernetes.io/component: {{ .component }}
app.kubernetes.io/name: {{ .root.Values.fullnameOverride | quote }}
{{- end }}

{{- define "application.image" -}}
{{ printf "%s/%s:%s" .Values.image.registry .Values.image.repository .Values.image.tag | quote }}
{{- end }}

{{/* What every pod of ours has, whatever it runs. */}}
{{- define "application.pod" -}}
automountServiceAccountToken: false
# No variables about other Services: they could look like settings.
enableServiceLinks: false
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- with .Values.podSecurityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Variables that say where the database and the trusted certificates are. */}}
{{- define "application.env" -}}
- name: DATABASE_URL_FILE
  value: /run/secrets/database/{{ .Values.database.secretKey }}
- name: PGSSLMODE
  value: {{ .Values.database.sslMode }}
{{- if .Values.database.caSecretName }}
- name: PGSSLROOTCERT
  value: /run/secrets/database/ca.crt
{{- end }}
{{- if or .Values.organisationCA.configMapName .Values.organisationCA.secretName }}
- name: SSL_CERT_FILE
  value: /run/organisation-ca/{{ .Values.organisationCA.key }}
{{- end }}
{{- end }}

{{- define "application.volumeMounts" -}}
- name: tmp
  mountPath: /tmp
- name: database
  mountPath: /run/secrets/database
  readOnly: true
{{- if or .Values.organisationCA.configMapName .Values.organisationCA.secretName }}
- name: organisation-ca
  mountPath: /run/organisation-ca
  readOnly: true
{{- end }}
{{- end }}

{{- define "application.volumes" -}}
- name: tmp
  emptyDir: {}
- name: database
  projected:
    sources:
      - secret:
          name: {{ .Values.database.secretName }}
          items:
            - key: {{ .Values.database.secretKey }}
              path: {{ .Values.database.secretKey }}
      {{- with .Values.database.caSecretName }}
      # The key alone: CloudNativePG keeps the authority's private key in the same Secret.
      - secret:
          name: {{ . }}
          items:
            - key: ca.crt
              path: ca.crt
      {{- end }}
{{- with .Values.organisationCA.configMapName }}
- name: organisation-ca
  configMap:
    name: {{ . }}
{{- end }}
{{- with .Values.organisationCA.secretName }}
- name: organisation-ca
  secret:
    secretName: {{ . }}
{{- end }}
{{- end }}

{{/* Egress rule of a NetworkPolicy: names are looked up. 5353 is OpenShift's. */}}
{{- define "application.egressDNS" -}}
{{- with .Values.networkPolicy.to.dns -}}
- to:
    {{- toYaml . | nindent 4 }}
  ports:
    - port: 53
      protocol: UDP
    - port: 53
      protocol: TCP
    - port: 5353
      protocol: UDP
    - port: 5353
      protocol: TCP
{{- end }}
{{- end }}

{{/* Egress rule of a NetworkPolicy: PostgreSQL. */}}
{{- define "application.egressDatabase" -}}
{{- with .Values.networkPolicy.to.database -}}
- to:
    {{- toYaml . | nindent 4 }}
  ports:
    - port: {{ $.Values.database.port }}
      protocol: TCP
{{- end }}
{{- end }}

{{/* The port of a URL, said or implied by its scheme. */}}
{{- define "application.port" -}}
{{- $url := urlParse . -}}
{{- regexFind "[0-9]+$" (regexFind ":[0-9]+$" $url.host) | default (ternary 443 80 (eq $url.scheme "https")) -}}
{{- end }}

{{/* What no schema can say in a sentence. The Deployment includes it. */}}
{{- define "application.validate" -}}
{{- if not (and .Values.environment.name .Values.environment.label) }}
{{- fail "Say which environment: add -f values-<environment>.yaml." }}
{{- end }}
{{- if not .Values.image.tag }}
{{- fail "Say which image: set image.tag in the environment's values file." }}
{{- end }}
{{- if and .Values.ingress.enabled (not .Values.ingress.host) }}
{{- fail "Say under which name the application is reached: set ingress.host in the environment's values file." }}
{{- end }}
{{- if and (hasPrefix "verify-" .Values.database.sslMode) (not .Values.database.caSecretName) }}
{{- fail (printf "Name the Secret that holds the database's authority in database.caSecretName: database.sslMode is %s." .Values.database.sslMode) }}
{{- end }}
{{- if and .Values.organisationCA.configMapName .Values.organisationCA.secretName }}
{{- fail "Name a ConfigMap or a Secret in organisationCA, not both." }}
{{- end }}
{{- if gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas) }}
{{- fail "Give autoscaling.maxReplicas at least the value of autoscaling.minReplicas." }}
{{- end }}
{{- end }}
