"""Reading headers within bounds, splicing elements into bytes, and the pixel digest."""
