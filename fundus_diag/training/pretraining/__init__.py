"""From photographs without labels to the weights of an encoder."""
