"""Networks made smaller: quantised."""
