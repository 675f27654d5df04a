"""Turns what a provider answered, or how it failed to, into our errors.

Each has a sentence of our own. The provider's reason is added only where it helps the caller
(context length, content filter, model not found, other 4xx), cut, and scrubbed of keys. What is
made here is raised outside any `except`, so that no SDK exception, with its request and headers,
hangs on as its context.
"""

from collections.abc import Mapping
from http import HTTPStatus

from config_core.connection import Connection
from config_core.model_configuration import ModelProvider
from service_core.upstream.errors import (
    ContentRefusedError,
    ContextTooLongError,
    CredentialRejectedError,
    ModelNotFoundError,
    RateLimitedError,
    UpstreamError,
    UpstreamFailedError,
    UpstreamRejectedError,
)
from service_core.upstream.retry_after import retry_after
from service_core.upstream.translate_clean import clean, is_usable
from service_core.upstream.translate_detail import Detail, detail_of, read_detail

_REQUEST_ID_HEADERS = ("x-request-id", "request-id", "mistral-correlation-id", "x-kong-request-id")
_GROQ_CAPACITY_EXCEEDED = 498
_NOT_REACHED = frozenset(
    {"ConnectError", "ConnectTimeout", "ProxyError", "UnsupportedProtocol"}  # httpx
    | {"ClientConnectorError", "ConnectionTimeoutError", "ClientProxyConnectionError"}  # aiohttp
)
_BROKEN_OFF = frozenset(
    {"TransportError", "APIConnectionError", "StreamError"}
    | {"ClientConnectionError", "ClientPayloadError", "ClientResponseError"}
)
_CREDENTIAL = frozenset({401, 402, 403})
_TRANSIENT = frozenset({408, 409})
_TOO_LONG = frozenset({400, 413, 422})


def name_of(connection: Connection) -> str:
    """What messages call the other side: the provider, and the endpoint where there is one."""
    if connection.endpoint:
        return f"{connection.provider} (endpoint {connection.endpoint!r})"
    return str(connection.provider)


def request_id_of(connection: Connection, headers: Mapping[str, str]) -> str:
    """The provider's id of the request, for its support; "" where it gives none that is usable."""
    value = next((headers[name] for name in _REQUEST_ID_HEADERS if headers.get(name)), "")
    return value if value.isascii() and is_usable(connection, value) else ""


def from_response(
    connection: Connection, model: str, status: int, headers: Mapping[str, str], body: bytes
) -> UpstreamError:
    """The error that a response is, whose status is not 200."""
    return _error(connection, model, status, headers, read_detail(body))


def from_error_object(
    connection: Connection, model: str, headers: Mapping[str, str], error: object
) -> UpstreamError:
    """The error that stands in the body of a response with status 200, or in a stream."""
    detail = detail_of(error)
    return _error(connection, model, detail.status, headers, detail)


def from_exception(connection: Connection, error: Exception, request_id: str = "") -> UpstreamError:
    """The error that an exception of an SDK or of its HTTP client stands for.

    Only the names of the types are looked at: the exceptions carry requests, and with them keys.
    """
    names = {kind.__name__ for link in (error, error.__cause__) for kind in type(link).__mro__}
    name = name_of(connection)
    if "ValidationError" in names or "TypeError" in names:
        return UpstreamRejectedError(
            connection.provider, f"{name} was not asked: its SDK does not take this request."
        )
    if "DialRefusedError" in names:
        return _not_dialled(connection)
    if names & _NOT_REACHED:
        what = f"{name} could not be reached: no connection could be made."
    elif names & _BROKEN_OFF:
        what = f"The connection to {name} broke before the answer was whole."
    else:
        what = f"The answer of {name} could not be read ({type(error).__name__})."
    return UpstreamFailedError(connection.provider, what, request_id=request_id)


def _not_dialled(connection: Connection) -> UpstreamFailedError:
    """The error for an address that the guard refuses: no other attempt would fare better."""
    error = UpstreamFailedError(
        connection.provider,
        f"{name_of(connection)} was not called: its address is not one that it may have. The "
        "operator's log says which, and why.",
    )
    error.retryable = False
    return error


def broken(connection: Connection, what: str, request_id: str = "") -> UpstreamFailedError:
    """The error for content that is not what was asked for; `what` follows the provider's name."""
    return UpstreamFailedError(
        connection.provider, f"{name_of(connection)} {what}.", request_id=request_id
    )


def _error(
    connection: Connection,
    model: str,
    status: int | None,
    headers: Mapping[str, str],
    detail: Detail,
) -> UpstreamError:
    request_id = request_id_of(connection, headers)
    if _is_rate_limit(connection.provider, status, detail):
        return _rate_limited(connection, status, headers, detail, request_id)
    explained = _explained(connection, model, status, detail, request_id)
    if explained is not None:
        return explained
    if status in _CREDENTIAL:
        return _credential_rejected(connection, status, request_id)
    if not _is_refusal(status) or status is None or status in _TRANSIENT:
        return _failed_or_redirected(connection, status, headers, request_id)
    return UpstreamRejectedError(
        connection.provider,
        _sentence(connection, f"{name_of(connection)} refused the request ({status})", detail),
        status=status,
        request_id=request_id,
    )


def _explained(
    connection: Connection, model: str, status: int | None, detail: Detail, request_id: str
) -> UpstreamError | None:
    """The error that the provider's own code or text names more exactly than the status does."""
    provider, name = connection.provider, name_of(connection)
    if detail.content_refused and _is_refusal(status):
        return ContentRefusedError(
            provider,
            _sentence(connection, f"{name} refused the content", detail),
            status=status,
            request_id=request_id,
            metadata={"provider_reason": clean(connection, detail.message)},
        )
    if detail.context_code or (detail.context_words and (status is None or status in _TOO_LONG)):
        return ContextTooLongError(
            provider,
            _sentence(connection, f"The text exceeds the context of {model!r} at {name}", detail),
            status=status,
            request_id=request_id,
        )
    if status == HTTPStatus.NOT_FOUND or (detail.model_unknown and _is_refusal(status)):
        return ModelNotFoundError(
            provider,
            _sentence(connection, f"{name} has no model {model!r} for this key", detail),
            status=status,
            request_id=request_id,
        )
    return None


def _is_refusal(status: int | None) -> bool:
    """Whether it is a 4xx, or an error in a body, of which only the code tells what it is."""
    return status is None or HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR


def _is_rate_limit(provider: ModelProvider, status: int | None, detail: Detail) -> bool:
    if status is None:
        return detail.rate_limited or detail.quota_spent
    if provider is ModelProvider.GROQ and status == _GROQ_CAPACITY_EXCEEDED:
        return True
    return status == HTTPStatus.TOO_MANY_REQUESTS


def _rate_limited(
    connection: Connection,
    status: int | None,
    headers: Mapping[str, str],
    detail: Detail,
    request_id: str,
) -> RateLimitedError:
    name = name_of(connection)
    if detail.quota_spent:
        error = RateLimitedError(
            connection.provider,
            f"The quota at {name} is spent, and waiting does not bring it back: check the plan and "
            "the billing of the key's account.",
            status=status,
            request_id=request_id,
        )
        error.retryable = False
        return error
    return RateLimitedError(
        connection.provider,
        f"{name} asks for fewer requests: wait and try again.",
        status=status,
        retry_after=retry_after(headers),
        request_id=request_id,
    )


def _credential_rejected(
    connection: Connection, status: int | None, request_id: str
) -> CredentialRejectedError:
    name = name_of(connection)
    if connection.is_callers:
        message = f"{name} rejected the key of this request ({status}): check it and its rights."
    elif connection.credential is None:
        message = f"{name} asks for a key ({status}), and none is registered for it."
    else:
        message = f"{name} rejected the operator's key ({status})."
    return CredentialRejectedError(
        connection.provider,
        message,
        callers=connection.is_callers,
        status=status,
        request_id=request_id,
    )


def _failed_or_redirected(
    connection: Connection, status: int | None, headers: Mapping[str, str], request_id: str
) -> UpstreamError:
    name = name_of(connection)
    if status and HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        return UpstreamRejectedError(
            connection.provider,
            f"{name} answered with a redirect ({status}), which is not followed: register the "
            "endpoint's final address.",
            status=status,
            request_id=request_id,
        )
    return UpstreamFailedError(
        connection.provider,
        f"{name} failed ({status})." if status else f"{name} reported an error in its answer.",
        status=status,
        retry_after=retry_after(headers),
        request_id=request_id,
    )


def _sentence(connection: Connection, sentence: str, detail: Detail) -> str:
    reason = clean(connection, detail.message)
    return f"{sentence}: {reason}" if reason else f"{sentence}."
