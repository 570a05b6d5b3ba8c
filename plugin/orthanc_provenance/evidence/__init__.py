"""What an object says about itself: the marker catalogue, matching it, and positive acquisition evidence."""
