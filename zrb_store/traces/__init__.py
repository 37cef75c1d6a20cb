"""A wing: runs, attempts, steps and deliveries are spans of OpenTelemetry."""
