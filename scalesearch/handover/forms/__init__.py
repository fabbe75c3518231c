"""The forms that a network leaves in, one a file."""
