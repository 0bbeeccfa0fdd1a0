"""Side-by-side measurements against peers that anybody can install."""
