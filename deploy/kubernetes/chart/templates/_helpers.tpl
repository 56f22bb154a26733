{{- define "tagger.fullname" -}}
{{- if .Values.fullnameOverride }}{{ .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else }}{{ $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}{{ printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" }}{{ end }}{{ end }}
{{- end }}

{{- define "tagger.selector" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "tagger.labels" -}}
{{ include "tagger.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "tagger.image" -}}
{{- with .Values.image }}{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ default $.Chart.AppVersion .tag }}{{ end }}{{ end }}
{{- end }}

{{- define "tagger.rules" -}}
{{- if .Values.existingRulesConfigMap }}{{ .Values.existingRulesConfigMap }}{{ else }}{{ include "tagger.fullname" . }}-rules{{ end }}
{{- end }}

{{- define "tagger.hasCa" -}}
{{- if or .Values.ca.configMap .Values.ca.secret }}true{{ end }}
{{- end }}

{{/* What every container of Tagger has: a dictionary with root (the top), name, args, ports and resources. */}}
{{- define "tagger.container" -}}
{{- $root := .root -}}
name: {{ .name }}
image: {{ include "tagger.image" $root | quote }}
imagePullPolicy: {{ $root.Values.image.pullPolicy }}
args: {{ toJson .args }}
env:
- name: TAGGER_RULES_FILE
  value: /etc/tagger/rules.yaml
{{- if include "tagger.hasCa" $root }}
- name: OS_CACERT
  value: /etc/tagger-ca/{{ $root.Values.ca.key }}
- name: TAGGER_AMQP_CACERT
  value: /etc/tagger-ca/{{ $root.Values.ca.key }}
{{- end }}
{{- if $root.Values.audit.existingClaim }}
- name: POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: TAGGER_AUDIT_FILE
  value: /var/lib/tagger/$(POD_NAME).jsonl
{{- end }}
{{- range $name, $value := $root.Values.config }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- with .reconcile }}
{{- if .rules }}
- name: TAGGER_RECONCILE_RULES
  value: {{ .rules | quote }}
{{- end }}
{{- end }}
envFrom:
- secretRef:
    name: {{ required "existingSecret: name the Secret with OS_* and, for listen, TAGGER_AMQP_URL" $root.Values.existingSecret }}
resources: {{ toJson .resources }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  readOnlyRootFilesystem: true
  allowPrivilegeEscalation: false
  capabilities: {drop: [ALL]}
  seccompProfile: {type: RuntimeDefault}
volumeMounts:
- name: rules
  mountPath: /etc/tagger
  readOnly: true
{{- with .reconcile }}
{{- if .every }}
- name: tmp # for plans
  mountPath: /tmp
{{- end }}
{{- end }}
{{- if include "tagger.hasCa" $root }}
- name: ca
  mountPath: /etc/tagger-ca
  readOnly: true
{{- end }}
{{- if $root.Values.audit.existingClaim }}
- name: audit
  mountPath: /var/lib/tagger
{{- end }}
{{- end }}

{{- define "tagger.volumes" -}}
- name: rules
  configMap:
    name: {{ include "tagger.rules" . }}
{{- if .Values.ca.configMap }}
- name: ca
  configMap:
    name: {{ .Values.ca.configMap }}
{{- else if .Values.ca.secret }}
- name: ca
  secret:
    secretName: {{ .Values.ca.secret }}
{{- end }}
{{- if .Values.audit.existingClaim }}
- name: audit
  persistentVolumeClaim:
    claimName: {{ .Values.audit.existingClaim }}
{{- end }}
{{- end }}

{{/* A Deployment: a dictionary with root, component, command, settings (.Values.listen or .serve) and surge. */}}
{{- define "tagger.deployment" -}}
{{- $root := .root -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ include "tagger.fullname" $root }}-{{ .component }}
  labels:
    {{- include "tagger.labels" $root | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
spec:
  replicas: {{ .settings.replicas }}
  revisionHistoryLimit: 3
  # The new Pods are ready before the old ones end.
  strategy:
    type: RollingUpdate
    rollingUpdate: {maxSurge: 1, maxUnavailable: 0}
  selector:
    matchLabels:
      {{- include "tagger.selector" $root | nindent 6 }}
      app.kubernetes.io/component: {{ .component }}
  template:
    metadata:
      labels:
        {{- include "tagger.labels" $root | nindent 8 }}
        app.kubernetes.io/component: {{ .component }}
        {{- with $root.Values.podLabels }}{{ toYaml . | nindent 8 }}{{ end }}
      {{- with $root.Values.podAnnotations }}
      annotations: {{ toJson . }}
      {{- end }}
    spec:
      serviceAccountName: {{ include "tagger.fullname" $root }}
      automountServiceAccountToken: false
      enableServiceLinks: false
      terminationGracePeriodSeconds: {{ $root.Values.terminationGracePeriodSeconds }}
      {{- with $root.Values.imagePullSecrets }}
      imagePullSecrets: {{ toJson . }}
      {{- end }}
      securityContext:
        fsGroup: 65532
      containers:
      -
        {{- $args := concat (list .component "--listen" ":8080") .settings.extraArgs }}
        {{- $every := dig "reconcile" "every" "" .settings }}
        {{- if $every }}{{ $args = concat $args (list "--reconcile" $every) }}{{ end }}
        {{- include "tagger.container" (dict "root" $root "name" .component "args" $args "resources" .settings.resources "reconcile" .settings.reconcile) | nindent 8 }}
        ports:
        - name: http
          containerPort: 8080
        # Ready: it consumes messages, or serves requests. A broker that is down is no reason to restart it.
        readinessProbe:
          httpGet: {path: /healthz, port: http}
          periodSeconds: 10
        livenessProbe:
          tcpSocket: {port: http}
          initialDelaySeconds: 10
          periodSeconds: 20
      volumes:
        {{- include "tagger.volumes" $root | nindent 8 }}
        {{- if $every }}
        - name: tmp
          emptyDir: {}
        {{- end }}
      {{- with $root.Values.nodeSelector }}
      nodeSelector: {{ toJson . }}
      {{- end }}
      {{- with $root.Values.tolerations }}
      tolerations: {{ toJson . }}
      {{- end }}
      {{- if $root.Values.affinity }}
      affinity: {{ toJson $root.Values.affinity }}
      {{- else }}
      affinity:
        podAntiAffinity:
          preferredDuringSchedulingIgnoredDuringExecution:
          - weight: 100
            podAffinityTerm:
              topologyKey: kubernetes.io/hostname
              labelSelector:
                matchLabels:
                  {{- include "tagger.selector" $root | nindent 18 }}
                  app.kubernetes.io/component: {{ .component }}
      {{- end }}
{{- end }}
