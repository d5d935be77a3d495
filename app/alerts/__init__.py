"""app/alerts."""
