"""Moves secrets between hosts' files and the store of secrets."""
