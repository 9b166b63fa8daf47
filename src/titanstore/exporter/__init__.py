"""Figures of a store for Prometheus, its health and readiness over HTTP, alert rules, dashboard."""
