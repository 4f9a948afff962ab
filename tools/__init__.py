"""Programs that generate files of the checkout."""
