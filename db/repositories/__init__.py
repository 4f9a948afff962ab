"""Every query, one file per noun. Functions take the session of the caller's transaction."""
