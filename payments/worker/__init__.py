"""The worker's readiness for health checks, and its metrics."""
