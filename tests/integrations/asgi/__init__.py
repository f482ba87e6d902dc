"""Circuits in web applications, without any server or framework."""
