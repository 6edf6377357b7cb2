"""Published weights: files of other libraries become our networks, with proof, and ours go back out."""
