"""The published figures, what they support, and how ours stand beside them."""
