"""Logins by an OpenID issuer (OIDC)."""
