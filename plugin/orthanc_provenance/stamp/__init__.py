"""What the plugin writes into an object: which elements, the private block, and applying them."""
