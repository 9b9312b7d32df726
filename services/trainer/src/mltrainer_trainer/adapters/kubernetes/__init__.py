"""Executes attempts as jobs of a Kubernetes cluster."""
