"""What ``make bench`` runs: the real service beside its yardsticks, and ratios of the two."""
