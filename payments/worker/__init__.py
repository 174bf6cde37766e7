"""What runs beside the engine in a worker: its readiness for health checks, and its metrics."""
