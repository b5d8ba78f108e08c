"""From the folders of runs to a comparison: table, statistics, curves and words."""
