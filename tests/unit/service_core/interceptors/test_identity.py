"""Who gets in, over a real server, for calls of each kind."""

from collections.abc import Mapping

import grpc
import pytest

from config_core.errors import Reason
from service_core.identity import access
from service_core.identity.tokens import digest_of
from tests.unit.service_core.identity.issuing import SigningKey
from tests.unit.service_core.interceptors.guarded import (
    KEY,
    TOKENS,
    Metadata,
    Probed,
    bearer,
    refused,
)
from tests.unit.service_core.probe import KINDS, call, send_bytes, text

WRONG: Mapping[str, Metadata] = {
    "none": (),
    "empty": (("authorization", ""),),
    "basic": (("authorization", "Basic dTpw"),),
    "unknown": bearer("cascada_unknown"),
    "prefix": bearer(TOKENS["caller"][:-1]),
    "hash": bearer(digest_of(TOKENS["caller"])),
    "two": (*bearer(TOKENS["caller"]), *bearer(TOKENS["caller"])),
    "expired": bearer(KEY.token(exp=1)),
    "other key": bearer(SigningKey().token()),
    "other audience": bearer(KEY.token(aud="x")),
}


@pytest.mark.parametrize("kind", KINDS)
async def test_nobody_gets_in_without_an_identity_and_is_told_what_was_wrong(
    kind: str, probed: Probed
) -> None:
    answers = {await refused(probed, kind, metadata) for metadata in WRONG.values()}
    ((code, reason, _),) = answers
    assert code is grpc.StatusCode.UNAUTHENTICATED
    assert reason is Reason.UNAUTHENTICATED


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("token", [TOKENS["caller"], KEY.token()])
async def test_whoever_is_known_gets_in_and_works_for_its_own_tenant(
    kind: str, token: str, probed: Probed
) -> None:
    async with probed.calling(bearer(token)) as channel:
        (answer,) = await call(channel, kind)
    assert answer.texts == ["answer"]
    ((name, tenant),) = probed.entered
    assert name in ("token caller", "issuer corp: alice")
    assert tenant == "acme"


@pytest.mark.parametrize("kind", KINDS)
async def test_naming_the_own_tenant_changes_nothing(kind: str, probed: Probed) -> None:
    request = text("question")
    request.context.tenant_id = "acme"
    async with probed.calling(bearer(TOKENS["caller"])) as channel:
        assert await call(channel, kind, request)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("token", [TOKENS["caller"], KEY.token()])
async def test_nobody_speaks_for_another_tenant(kind: str, token: str, probed: Probed) -> None:
    code, reason, message = await refused(probed, kind, bearer(token), tenant="globex")
    assert code is grpc.StatusCode.PERMISSION_DENIED
    assert reason is Reason.PERMISSION_DENIED
    assert "acme" not in message


@pytest.mark.parametrize("kind", KINDS)
async def test_a_service_speaks_for_any_tenant(kind: str, probed: Probed) -> None:
    request = text("question")
    request.context.tenant_id = "globex"
    async with probed.calling(bearer(TOKENS["hop"])) as channel:
        assert await call(channel, kind, request)


@pytest.mark.parametrize("kind", KINDS)
async def test_another_role_is_not_enough(kind: str, probed: Probed) -> None:
    code, reason, message = await refused(probed, kind, bearer(TOKENS["indexer"]))
    assert code is grpc.StatusCode.PERMISSION_DENIED
    assert reason is Reason.PERMISSION_DENIED
    assert "caller or service" in message


@pytest.mark.parametrize("kind", KINDS)
async def test_an_rpc_that_is_not_in_the_table_is_denied(
    kind: str, probed: Probed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "ROLES", {})
    code, _, _ = await refused(probed, kind, bearer(TOKENS["caller"]))
    assert code is grpc.StatusCode.PERMISSION_DENIED


@pytest.mark.parametrize("kind", KINDS)
async def test_nothing_of_a_request_is_read_before_it_is_known_whose_it_is(
    kind: str, probed: Probed
) -> None:
    # No message of the call: whoever parses it says INVALID_ARGUMENT.
    garbage = b"\xff" * 5_000_000
    for metadata, code in (
        ((), grpc.StatusCode.UNAUTHENTICATED),
        (bearer(TOKENS["indexer"]), grpc.StatusCode.PERMISSION_DENIED),
        (bearer(TOKENS["caller"]), grpc.StatusCode.INVALID_ARGUMENT),
    ):
        async with probed.calling(metadata) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await send_bytes(channel, kind, garbage)
        assert raised.value.code() is code
    assert not probed.entered
