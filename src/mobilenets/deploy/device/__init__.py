"""Measuring on another machine: a phone by adb, a board by ssh, with the runtimes' own benchmark programs."""
