"""The table of roles: every RPC that there is stands in it, and nothing else is let in."""

import pytest
from cascada.agent_execution.v1 import agent_execution_service_pb2
from cascada.config.v1 import configuration_service_pb2
from cascada.embedding.v1 import embedding_service_pb2
from cascada.query.v1 import query_service_pb2
from google.protobuf import message_factory
from google.protobuf.descriptor import FileDescriptor, MethodDescriptor

from config_core.identity import Access, IdentityRules, Role
from service_core.identity.access import NOBODY, ROLES, access_of
from service_core.request_context import context_of

FILES: tuple[FileDescriptor, ...] = tuple(
    module.DESCRIPTOR
    for module in (
        agent_execution_service_pb2,
        configuration_service_pb2,
        embedding_service_pb2,
        query_service_pb2,
    )
)
METHODS: dict[str, MethodDescriptor] = {
    f"/{service.full_name}/{method.name}": method
    for file in FILES
    for service in file.services_by_name.values()
    for method in service.methods
}
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"


def test_every_rpc_stands_in_the_table_and_no_other() -> None:
    assert set(ROLES) == set(METHODS)
    assert all(ROLES.values())


def test_the_context_of_every_request_is_found() -> None:
    for name, method in METHODS.items():
        request = message_factory.GetMessageClass(method.input_type)()
        assert context_of(request) is not None, name


@pytest.mark.parametrize("method", ["/cascada.query.v1.QueryService/Drop", "/x/y", "", "/grpc."])
def test_what_is_not_in_the_table_is_open_to_nobody(method: str) -> None:
    assert access_of(method, IdentityRules()) == (Access.IDENTIFIED, NOBODY)


def test_health_is_open() -> None:
    for name in ("Check", "Watch", "List"):
        assert access_of(f"/grpc.health.v1.Health/{name}", IdentityRules())[0] is Access.OPEN


@pytest.mark.parametrize("access", Access)
def test_reflection_follows_its_policy(access: Access) -> None:
    found, roles = access_of(REFLECTION, IdentityRules(reflection=access))
    assert found is access
    assert roles == ({Role.OPERATOR} if access is Access.OPERATOR else set(Role))


def test_the_configuration_service_follows_its_policy() -> None:
    method = "/cascada.config.v1.ConfigurationService/ResolveConfiguration"
    assert access_of(method, IdentityRules())[1] == {Role.CALLER, Role.OPERATOR}
    operators = IdentityRules(configuration_service=Access.OPERATOR)
    assert access_of(method, operators)[1] == {Role.OPERATOR}
    nobody = IdentityRules(configuration_service=Access.OFF)
    assert access_of(method, nobody)[0] is Access.OFF


def test_a_service_may_do_what_the_service_before_asks_and_no_more() -> None:
    allowed = {name.rpartition("/")[2] for name, roles in ROLES.items() if Role.SERVICE in roles}
    assert allowed == {"Query", "StreamQuery", "GetCollection", "Embed"}


def test_only_an_indexer_writes() -> None:
    allowed = {name.rpartition("/")[2] for name, roles in ROLES.items() if Role.INDEXER in roles}
    assert allowed == {"IndexDocuments", "DeleteDocuments", "DeleteCollection", "ReindexCollection"}
