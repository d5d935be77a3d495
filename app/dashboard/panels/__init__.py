"""app/dashboard/panels."""
