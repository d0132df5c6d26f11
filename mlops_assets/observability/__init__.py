"""What Prometheus, Alertmanager, Grafana and OpenTelemetry read: the platform's metrics, and configuration from declarations."""
