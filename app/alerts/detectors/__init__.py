"""app/alerts/detectors."""
