"""Pictures: heatmaps over scans, prepared scans, charts; each function returns bytes, the same for the same values."""
