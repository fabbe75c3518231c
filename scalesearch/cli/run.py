def run() -> None:
    """."""
