"""Parts of pages that are made from the code and its data while the documentation is built."""
