"""The Bundle: the file that ships, and the proof that it is the network."""
