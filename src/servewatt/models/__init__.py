"""Which model: catalogue, revisions, weights, and the cache of what engines derive from them."""
