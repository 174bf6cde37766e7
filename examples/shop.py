"""A web shop that takes money with payments.client: checkout, status and refund of an order.

Run it beside a worker: ``python examples/shop.py``, then
``curl -X POST localhost:8000/orders/o-1/checkout -d '{"customer": "abc", "total": 1999}'``.
"""

from collections.abc import AsyncIterator

from aiohttp import web
from aiohttp.typedefs import Handler

from payments.client import (
    BrokersUnavailable,
    DeadlineExceeded,
    InvalidCommand,
    Overloaded,
    PaymentsClient,
    Result,
)

CLIENT = web.AppKey("client", PaymentsClient)
STATUS = {"completed": 200, "declined": 402, "cancelled": 409, "rejected": 422}


async def checkout(request: web.Request) -> web.Response:
    """Charge the customer for an order, once, however often the button is pressed."""
    order, client = await request.json(), request.app[CLIENT]
    # The order's number is the payment's id: that is all it takes to charge once.
    payment = f"order-{request.match_info['number']}"
    try:
        result = await client.make(
            payment, account=order["customer"], amount=order["total"], deadline_seconds=5
        )
    except DeadlineExceeded:
        # It may still be carried out. The page asks again: the same request, or the status.
        return web.json_response({"payment": payment, "outcome": "unknown"}, status=202)
    return answer(result, STATUS[result.outcome])


async def status(request: web.Request) -> web.Response:
    """Tell what became of an order's payment."""
    result = await request.app[CLIENT].get(f"order-{request.match_info['number']}")
    return answer(result, 200 if result.state else 404)


async def refund(request: web.Request) -> web.Response:
    """Give the money back, or prevent a payment that has not been made yet."""
    result = await request.app[CLIENT].cancel(f"order-{request.match_info['number']}")
    return answer(result, 200 if result.outcome == "cancelled" else 409)


def answer(result: Result, http_status: int) -> web.Response:
    """Return a result as the page needs it."""
    shown = {"payment": result.payment, "outcome": result.outcome, "reason": result.reason}
    return web.json_response({**shown, "state": result.state}, status=http_status)


@web.middleware
async def plain_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn what the client raises into answers."""
    try:
        return await handler(request)
    except InvalidCommand as error:
        return web.json_response({"field": error.field, "message": error.message}, status=422)
    except (BrokersUnavailable, Overloaded):
        return web.json_response({"message": "try again"}, status=503)
    except DeadlineExceeded:
        return web.json_response({"message": "try again"}, status=504)


def shop(client: PaymentsClient) -> web.Application:
    """Return the application; one client serves all its requests."""

    async def connected(app: web.Application) -> AsyncIterator[None]:
        async with client:
            app[CLIENT] = client
            yield

    app = web.Application(middlewares=[plain_errors])
    app.cleanup_ctx.append(connected)
    app.router.add_post("/orders/{number}/checkout", checkout)
    app.router.add_get("/orders/{number}", status)
    app.router.add_post("/orders/{number}/refund", refund)
    return app


if __name__ == "__main__":
    web.run_app(shop(PaymentsClient()), host="127.0.0.1", port=8000)
