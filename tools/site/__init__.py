"""Pages of the documentation that are made from the code, and the hooks with which mkdocs builds them."""
