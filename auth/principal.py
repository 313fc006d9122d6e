"""The verified caller: subject, roles, until when."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Principal:
    """Whom a token speaks for. `expires_at` is in seconds since 1970; `claims` are the token's as JSON, where they are to be kept."""

    subject: str
    roles: frozenset[str]
    provider_id: str
    expires_at: float
    claims: str = ""

    @property
    def user_id(self) -> str:
        return self.subject
