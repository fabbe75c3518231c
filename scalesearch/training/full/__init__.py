"""Full training of one network: many epochs of any data, from scratch or from trained weights."""
