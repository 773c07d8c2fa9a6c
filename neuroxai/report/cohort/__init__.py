"""The cohort's page and its figures."""
