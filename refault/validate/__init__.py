"""A replay's page events beside those a host recorded: counts by phase, and where they part."""
