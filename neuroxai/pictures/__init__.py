"""Pictures of heatmaps over scans, for notebooks and reports: slices, strips, the interactive viewer, whole pages."""
