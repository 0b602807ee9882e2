"""Ninefold."""
