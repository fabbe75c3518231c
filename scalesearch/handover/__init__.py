"""What a user walks away with: networks in forms that need nothing of this package, and their checks."""
