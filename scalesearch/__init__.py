"""scalesearch: find the convolutional network that makes the most of a compute budget."""
