"""What every provider's HTTP pool is made of, the same for both generations of httpx.

Nothing is read from the environment, no redirect is followed, no cookie is kept (a pool serves
many callers), and only connecting has a time limit: the caller limits the rest.
"""

import ssl
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

CONNECT_SECONDS = 10.0
MAX_KEPT_CONNECTIONS = 100
KEPT_SECONDS = 30.0
NO_KEY = "none"
"""Goes where an endpoint needs no key: the SDKs insist on one, and would look for a real one."""


@cache
def _trust() -> ssl.SSLContext:
    """The system's certificates; reading them takes 20 ms, so once for all pools."""
    return ssl.create_default_context()


def pool_arguments(proxy: str | None) -> dict[str, Any]:
    """Arguments of an httpx client, beside `timeout` and `limits`, whose types differ."""
    return {
        "proxy": proxy,
        "trust_env": False,
        "follow_redirects": False,
        "verify": _trust(),
        "cookies": CookieJar(DefaultCookiePolicy(allowed_domains=[])),
    }
