"""The verified caller: subject, roles, until when."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Principal:
    """Whom a token speaks for. Times are in seconds since 1970; `claims` are the token's as JSON, where they are to be kept.

    `token_id` is its `jti`, empty without one; `issued_at` its `iat`, 0 without. `key` is the fingerprint of what verified it, where
    the claims are kept.
    """

    subject: str
    roles: frozenset[str]
    provider_id: str
    expires_at: float
    claims: str = ""
    token_id: str = ""
    issued_at: float = 0.0
    key: str = ""

    @property
    def user_id(self) -> str:
        return self.subject
