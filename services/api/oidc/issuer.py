"""Client of an OpenID issuer: discovery, the tokens of a login, the user's claims.

::

    browser ─► issuer: authorization endpoint    state, nonce, code challenge (S256)
    browser ◄─ issuer                            state, code
    we ──────► issuer: token endpoint            code, code verifier, our secret
       ◄──────                                   id token: signed by a key of the issuer's
                                                 for us, not expired, with the nonce of this login

The operator chooses the issuer, which may be in a private network. Still its answers are bounded in
time and size, and only signed claims are trusted.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import quote

import httpx
from authlib.oauth2.base import OAuth2Error
from authlib.oauth2.client import OAuth2Client
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from db.repositories.accounts import EMAIL
from db.repositories.identities import Begun, Person
from refault.errors import Unavailable
from services.api.refusals import Unauthenticated
from services.api.settings import Settings, is_safe_url

# Asymmetric signatures only: neither "none" nor HMAC with our shared secret.
ALGORITHMS = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
    "Ed25519",
)  # fmt: skip
SCOPE = "openid email"
ANSWER_BYTES_MAX = 1 << 20
ANSWER_SECONDS = 10.0
# Allowed clock skew of the issuer.
LEEWAY_SECONDS = 60
_SUBJECT_LENGTH_MAX = 255
_ENDPOINTS = ("authorization_endpoint", "token_endpoint", "jwks_uri")


@dataclass(frozen=True)
class Issuer:
    """The issuer of the settings.

    Every method raises :class:`~refault.errors.Unavailable` if the issuer cannot be reached or its
    answer is unusable.
    """

    settings: Settings

    def authorization_endpoint(self) -> str:
        """The issuer's authorization endpoint."""
        return str(self._discover()["authorization_endpoint"])

    def where(self, endpoint: str, begun: Begun) -> str:
        """The authorization address of this login."""
        url, _ = self._client().create_authorization_url(
            endpoint, state=begun.state, nonce=begun.nonce, code_verifier=begun.code_verifier
        )
        return str(url)

    def refusal(self, error: str | None) -> Unauthenticated:
        """The error for a callback without a code, with the issuer's reason if it gave one."""
        return Unauthenticated(f"the issuer refused the login: {plain(error or 'no code')}")

    def redeem(self, code: str, nonce: str, code_verifier: str) -> Person:
        """The user of a login, for the code of the callback.

        Raises:
            Unauthenticated: the issuer refuses the code, or its token is invalid.
        """
        metadata = self._discover()
        tokens = self._tokens(metadata, code, code_verifier)
        claims = self._claims(tokens, nonce, metadata)
        if "email" not in claims and metadata.get("userinfo_endpoint"):
            told = self._told(tokens, metadata["userinfo_endpoint"], claims["sub"])
            claims = {**told, **claims}
        return Person(self.settings.oidc_issuer, claims["sub"], _verified_email(claims))

    def _discover(self) -> Mapping[str, Any]:
        url = self.settings.oidc_issuer.rstrip("/") + "/.well-known/openid-configuration"
        metadata = self._document(url)
        if metadata.get("issuer") != self.settings.oidc_issuer:
            raise self._silent(f"its configuration is of {plain(metadata.get('issuer'))}")
        for name in (*_ENDPOINTS, "userinfo_endpoint"):
            given = metadata.get(name)
            if given is None and name not in _ENDPOINTS:
                continue
            if not isinstance(given, str) or not is_safe_url(given):
                raise self._silent(f"its configuration has no usable {name}")
        return metadata

    def _tokens(
        self, metadata: Mapping[str, Any], code: str, code_verifier: str
    ) -> Mapping[str, Any]:
        try:
            with _http() as http:
                tokens = self._client(http).fetch_token(
                    metadata["token_endpoint"],
                    code=code,
                    grant_type="authorization_code",
                    redirect_uri=self.settings.oidc_redirect_url,
                    code_verifier=code_verifier,
                    **_who_we_are(self.settings, metadata),
                )
        except OAuth2Error as error:
            raise Unauthenticated(f"the issuer refused the code: {plain(error.error)}") from error
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, TypeError) as error:
            raise self._silent(error) from error
        return cast("Mapping[str, Any]", tokens)

    def _claims(self, tokens: Mapping[str, Any], nonce: str, metadata: Mapping[str, Any]) -> Any:
        keys = self._document(metadata["jwks_uri"])
        try:
            key_set = KeySet.import_key_set(cast("Any", keys))
            token = jwt.decode(str(tokens.get("id_token")), key_set, algorithms=ALGORITHMS)
            claims = CodeIDToken(
                token.claims,
                token.header,
                {
                    "iss": {"essential": True, "value": self.settings.oidc_issuer},
                    "aud": {"essential": True, "value": self.settings.oidc_client_id},
                },
                {
                    "nonce": nonce,
                    "client_id": self.settings.oidc_client_id,
                    "access_token": tokens.get("access_token"),
                },
            )
            claims.validate(leeway=LEEWAY_SECONDS)
        # Before its signature is checked a token is untrusted and may have any shape.
        except (JoseError, ValueError, TypeError, KeyError, AttributeError) as error:
            reason = plain(getattr(error, "error", None) or type(error).__name__)
            raise Unauthenticated(f"the issuer's answer is invalid: {reason}") from error
        subject = claims["sub"]
        is_usable = isinstance(subject, str) and subject.isprintable()
        if not is_usable or not 0 < len(subject) <= _SUBJECT_LENGTH_MAX:
            raise Unauthenticated("the issuer's answer is invalid: it names no subject")
        return claims

    def _told(self, tokens: Mapping[str, Any], url: str, subject: str) -> Mapping[str, Any]:
        """The claims of the userinfo endpoint; some issuers omit the address from tokens."""
        token = str(tokens.get("access_token"))
        if not (token.isascii() and token.isprintable()):
            raise self._silent("it has no access token")
        told = self._document(url, {"authorization": f"Bearer {token}"})
        if told.get("sub") != subject:
            raise Unauthenticated("the issuer's answer is invalid: it is about another subject")
        return {name: told[name] for name in ("email", "email_verified") if name in told}

    def _document(self, url: str, headers: Mapping[str, str] | None = None) -> Mapping[str, Any]:
        try:
            with _http() as http:
                answer = http.get(url, headers=headers)
                answer.raise_for_status()
                document = answer.json()
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise self._silent(error) from error
        if not isinstance(document, dict):
            raise self._silent(f"{url} is not a JSON object")
        return document

    def _client(self, http: httpx.Client | None = None) -> OAuth2Client:
        return OAuth2Client(
            session=http,
            client_id=self.settings.oidc_client_id,
            redirect_uri=self.settings.oidc_redirect_url,
            scope=SCOPE,
            code_challenge_method="S256",
        )

    def _silent(self, reason: object) -> Unavailable:
        told = str(reason) or type(reason).__name__
        return Unavailable(
            f"the issuer {self.settings.oidc_issuer} cannot be reached: {told[:300]}"
        )


def plain(text: object) -> str:
    """Foreign text made safe for a message and a log: short and printable."""
    kept = "".join(
        letter for letter in str(text)[:100] if letter.isascii() and letter.isprintable()
    )
    return kept or "no reason given"


def _who_we_are(settings: Settings, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """How this client authenticates at the token endpoint (RFC 6749, 2.3)."""
    secret = settings.oidc_client_secret
    methods = metadata.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
    if secret and "client_secret_basic" in methods:
        return {"auth": httpx.BasicAuth(quote(settings.oidc_client_id, ""), quote(secret, ""))}
    shown = {"client_id": settings.oidc_client_id} | ({"client_secret": secret} if secret else {})
    # Without it the library would choose a method itself.
    return {"auth": lambda request: request, **shown}


def _verified_email(claims: Mapping[str, Any]) -> str | None:
    email = claims.get("email")
    # Only the boolean counts: as strings, "true" and "false" would both be truthy.
    if claims.get("email_verified") is not True or not isinstance(email, str):
        return None
    return email.lower() if EMAIL.fullmatch(email.lower()) else None


def _http() -> httpx.Client:
    return httpx.Client(
        transport=_Bounded(),
        timeout=httpx.Timeout(ANSWER_SECONDS / 2),
        headers={"accept": "application/json", "accept-encoding": "identity"},
        follow_redirects=False,
    )


class _Bounded(httpx.HTTPTransport):
    """Answers of bounded size, in bounded time."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """As the base class; reading the answer raises beyond the bounds."""
        until = time.monotonic() + ANSWER_SECONDS
        response = super().handle_request(request)
        if response.headers.get("content-encoding", "identity") != "identity":
            # A small compressed answer could unpack to a large one.
            response.close()
            raise httpx.DecodingError("an encoding that was not requested")
        response.stream = _BoundedStream(cast("httpx.SyncByteStream", response.stream), until)
        return response


class _BoundedStream(httpx.SyncByteStream):
    def __init__(self, stream: httpx.SyncByteStream, until: float) -> None:
        self._stream = stream
        self._until = until

    def __iter__(self) -> Iterator[bytes]:
        received_bytes = 0
        for chunk in self._stream:
            received_bytes += len(chunk)
            if received_bytes > ANSWER_BYTES_MAX:
                raise httpx.ReadError(f"an answer of more than {ANSWER_BYTES_MAX} bytes")
            if time.monotonic() > self._until:
                raise httpx.ReadTimeout(f"no complete answer within {ANSWER_SECONDS:g} s")
            yield chunk

    def close(self) -> None:
        self._stream.close()
