"""Workers: how many are alive, and what those compile that are starting."""
