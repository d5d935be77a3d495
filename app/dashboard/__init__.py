"""app/dashboard."""
