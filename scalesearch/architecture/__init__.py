"""What a network is, what it costs, and how it grows: Python and NumPy only, no torch."""
