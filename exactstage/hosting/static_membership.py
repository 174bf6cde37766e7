"""Static membership (KIP-345): notices that another member has taken this member's instance id.

aiokafka sends heartbeats without the instance id. The broker then answers only that it does not
know the member, aiokafka joins again with the same id, and two workers with one id would replace
each other for ever. So a heartbeat with the instance id is sent before aiokafka joins again.
"""

from typing import Any

from aiokafka.errors import UnknownMemberIdError
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.group import JoinGroupRequest
from aiokafka.protocol.types import Int16, Int32, Schema, String

from exactstage.advice import setting
from exactstage.errors import FailStop

_FENCED_INSTANCE_ID = 82
"""FENCED_INSTANCE_ID of the protocol guide, which aiokafka 0.14 does not know."""


class FencedInstance(FailStop):
    """Another member of the group has taken this one's instance id."""


class _HeartbeatResponse(Response):  # type: ignore[misc] # aiokafka has no types
    API_KEY = 12
    API_VERSION = 3
    SCHEMA = Schema(("throttle_time_ms", Int32), ("error_code", Int16))


class _HeartbeatRequest3(RequestStruct):  # type: ignore[misc] # aiokafka has no types
    API_KEY = 12
    API_VERSION = 3
    RESPONSE_TYPE = _HeartbeatResponse
    SCHEMA = Schema(
        ("group", String("utf-8")),
        ("generation_id", Int32),
        ("member_id", String("utf-8")),
        ("group_instance_id", String("utf-8")),
    )


class _Heartbeat(Request[_HeartbeatRequest3]):  # type: ignore[misc] # aiokafka has no types
    API_KEY = 12

    def __init__(self, *values: object) -> None:
        self._values = values

    def build(self, request_struct_class: type[_HeartbeatRequest3]) -> _HeartbeatRequest3:
        """Return the request in the format of its version."""
        return request_struct_class(*self._values)


def require_own_instance(coordinator: Any) -> None:
    """Let requests of aiokafka's group coordinator raise ``FencedInstance`` if the id was taken."""
    send = coordinator._send_req  # noqa: SLF001 - all of its requests go through it
    instance = coordinator._group_instance_id  # noqa: SLF001 - set by ``MembershipThread``

    async def send_as_instance(request: Any) -> Any:
        group = (coordinator.group_id, coordinator.generation, coordinator.member_id)
        response = await send(request)
        code = getattr(response, "error_code", 0)
        if code == UnknownMemberIdError.errno and group[2] != JoinGroupRequest.UNKNOWN_MEMBER_ID:
            code = (await send(_Heartbeat(*group, instance))).error_code
        if code == _FENCED_INSTANCE_ID:
            message = (
                f"another worker has joined group {group[0]} with the same "
                f"{setting('INSTANCE_ID')}, "
                f"{instance}, so this one is no member any more. If that one is a restart of this "
                f"one, nothing needs to be done; else give each worker an instance id of its own "
                f"before this one is started again: they would replace each other for ever"
            )
            raise FencedInstance(message)
        return response

    coordinator._send_req = send_as_instance  # noqa: SLF001 - see above
