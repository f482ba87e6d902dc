"""What is raised about settings."""


class SettingsError(ValueError):
    """A variable is misspelt, or a value is out of range; the text names both."""
