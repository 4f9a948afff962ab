"""What answers requests: the API, the web pages, and the embedded stack for one machine."""
