module github.com/cloudtagger/tagger/deploy/kubernetes

go 1.26.0

require (
	github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring v0.83.0 // indirect
	helm.sh/helm/v3 v3.18.2 // indirect
)
