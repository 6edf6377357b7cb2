"""The training loop, its recipe, and the Run folder it leaves."""
