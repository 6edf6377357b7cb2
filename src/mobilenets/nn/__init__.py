"""From a Spec to a torch module."""
