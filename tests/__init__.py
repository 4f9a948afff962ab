"""Tests, in folders that mirror the code; README.md says where a new one goes."""
