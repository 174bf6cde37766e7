"""How each system is spoken to over HTTP: the request of a make, of a cancel, of a balance."""

import json
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Dialect:
    """Paths, and the name of the account's field; ``%s`` is the payment's or account's id."""

    make: str
    cancel: str
    balance: str
    balance_method: str
    account_field: str

    def make_request(self, payment: str, account: str, amount: int) -> bytes:
        """Return the whole request that makes a payment."""
        body = json.dumps({self.account_field: account, "amount": amount})
        return request("POST", self.make % payment, body)

    def cancel_request(self, payment: str) -> bytes:
        """Return the whole request that cancels a payment."""
        return request("POST", self.cancel % payment)

    def balance_request(self, account: str) -> bytes:
        """Return the whole request that reads an account's balance."""
        return request(self.balance_method, self.balance % account)


def request(method: str, path: str, body: str = "") -> bytes:
    """Return an HTTP/1.1 request on a connection that stays open."""
    lines = [f"{method} {path} HTTP/1.1", "host: localhost"]
    if body:
        lines += ["content-type: application/json", f"content-length: {len(body.encode())}"]
    elif method == "POST":
        lines.append("content-length: 0")
    return "\r\n".join([*lines, "", body]).encode()


DIALECTS = {
    "payments": Dialect(
        make="/v1/payments/%s",
        cancel="/v1/payments/%s/cancel",
        balance="/v1/accounts/%s",
        balance_method="GET",
        account_field="account",
    ),
    "restate": Dialect(
        make="/payments/%s/makePayment",
        cancel="/payments/%s/cancelPayment",
        balance="/accounts/%s/balance",
        balance_method="POST",
        account_field="accountId",
    ),
}
