"""Quality of prepared scans: measures, and what they mean."""
