"""What a network learns: building, data, recipes and short trainings (torch)."""
