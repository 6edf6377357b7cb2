"""Experiments of the papers, repeated on data at hand: `run.run_experiment`."""
