"""Table 2 of Anand et al. 2019, "Unsupervised State Representation Learning in Atari": F1 per game, random actions."""

PUBLISHED: dict[str, dict[str, float]] = {
    "bowling": {"majority": 0.33, "random": 0.48, "cpc": 0.90, "stdim": 0.96, "supervised": 0.95},
    "boxing": {"majority": 0.01, "random": 0.19, "cpc": 0.29, "stdim": 0.58, "supervised": 0.83},
    "breakout": {"majority": 0.17, "random": 0.51, "cpc": 0.74, "stdim": 0.88, "supervised": 0.94},
    "freeway": {"majority": 0.01, "random": 0.50, "cpc": 0.47, "stdim": 0.81, "supervised": 0.98},
    "montezuma_revenge": {"majority": 0.08, "random": 0.68, "cpc": 0.75, "stdim": 0.78, "supervised": 0.87},
    "ms_pacman": {"majority": 0.10, "random": 0.49, "cpc": 0.65, "stdim": 0.72, "supervised": 0.87},
    "pong": {"majority": 0.10, "random": 0.17, "cpc": 0.71, "stdim": 0.81, "supervised": 0.87},
    "private_eye": {"majority": 0.23, "random": 0.70, "cpc": 0.81, "stdim": 0.91, "supervised": 0.97},
    "seaquest": {"majority": 0.29, "random": 0.57, "cpc": 0.66, "stdim": 0.67, "supervised": 0.85},
    "tennis": {"majority": 0.09, "random": 0.41, "cpc": 0.60, "stdim": 0.60, "supervised": 0.81},
}
"""By game and method, as the authors' slides print the table. Their ATC and SimCLR do not exist."""
