"""Heat maps: which pixels an answer rests on, float64 (R, R), the higher the more; computed on whatever runs."""
