"""Modules and pure tensor functions that two or more rooms use."""
