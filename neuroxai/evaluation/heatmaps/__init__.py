"""How good heatmaps are: known truth, faithfulness, robustness, randomisation, and one table of them all."""
