"""What is answered instead of a completion, in OpenAI's form."""

from __future__ import annotations

from typing import Any

KINDS = {400: "invalid_request_error", 401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}


class GatewayError(Exception):
    """A request that is not answered. `message` is for its client and holds nothing of ours or of the upstream's."""

    def __init__(
        self, status: int, code: str, message: str, *, param: str | None = None, retry_after: int | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.param, self.retry_after = status, code, message, param, retry_after

    @property
    def headers(self) -> dict[str, str]:
        unread = {"Connection": "close"} if self.status in (408, 413, 415) else {}  # the rest of a body is not taken
        return unread if self.retry_after is None else {**unread, "Retry-After": str(self.retry_after)}

    def to_json(self) -> dict[str, Any]:
        kind = KINDS.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}


def refused(message: str, param: str | None = None, code: str = "invalid_value") -> GatewayError:
    """A request that asks for what there is not (400)."""
    return GatewayError(400, code, message, param=param)
