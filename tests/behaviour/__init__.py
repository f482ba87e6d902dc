"""Behaviour that no single room can promise alone."""
