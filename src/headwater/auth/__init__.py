"""From what a request carries to a `Principal`: credentials, tokens, keys and tickets.

    configuration   TokenSettings; what may start without a key
    credentials     where in a request they are, and how they stay out of logs
    keys            which algorithms a key may verify
    jwks            keys from an identity provider, fetched and cached
    claims          what a verified token says
    tokens          Verifier, and `mint` for development and services
    tickets         single-use stand-ins for a token in a URL

The only place that knows JWT. It must not know channels' contents, streams or responses: it hands over a `Principal` or
raises `NotAuthenticated`.
"""

from headwater.auth.configuration import TokenSettings, check_secure
from headwater.auth.credentials import NO_CREDENTIALS, Credentials, find_token, redact
from headwater.auth.tickets import MemoryRegister, Register, TicketOffice
from headwater.auth.tokens import Verifier, mint

__all__ = [
    "NO_CREDENTIALS",
    "Credentials",
    "MemoryRegister",
    "Register",
    "TicketOffice",
    "TokenSettings",
    "Verifier",
    "check_secure",
    "find_token",
    "mint",
    "redact",
]
