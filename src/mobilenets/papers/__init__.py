"""The papers' tables and figures, published beside computed.

`published/` holds what the papers and model pages print (`SOURCES.md` says from where, and where they disagree); one
module for each paper turns it into entries, whose cost columns are computed from our Specs.
"""
