"""The glossary: every counter, verdict, check and term, in words."""
