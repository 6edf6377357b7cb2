"""`report.html`: what a person shows of a Run."""

from .page import write_report

__all__ = ["write_report"]
