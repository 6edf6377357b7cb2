"""Drawings of networks, from their Spec and cost: no torch, and no library for an SVG."""
