"""The documents: README.md, docs/**/*.md, and the site that is built from them."""
