"""A web shop that takes money with payments.client: the money is held at checkout, and taken later.

Run it beside a worker: ``python examples/shop.py``, then

    curl -X POST localhost:8000/orders/o-1/checkout -d '{"customer": "abc", "total": 1999}'
    curl -X POST localhost:8000/orders/o-1/parcels/1 -d '{"amount": 1500}'
    curl -X POST localhost:8000/orders/o-1/parcels/2 -d '{"amount": 499, "last": true}'
    curl -X POST localhost:8000/orders/o-1/returns/1 -d '{"amount": 500}'
    curl localhost:8000/orders/o-1
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
STATUS = {"authorized": 200, "declined": 402, "cancelled": 409, "lapsed": 409, "rejected": 422}


async def checkout(request: web.Request) -> web.Response:
    """Hold the total of an order on the customer's account, once, however often it is pressed."""
    order, client = await request.json(), request.app[CLIENT]
    # The order's number is the payment's id: that is all it takes to hold the money once.
    payment = f"order-{request.match_info['number']}"
    try:
        result = await client.authorize(
            payment, account=order["customer"], amount=order["total"], deadline_seconds=5
        )
    except DeadlineExceeded:
        # It may still be carried out. The page asks again: the same request, or the status.
        return web.json_response({"payment": payment, "outcome": "unknown"}, status=202)
    return answer(result, STATUS[result.outcome])


async def dispatch(request: web.Request) -> web.Response:
    """Take the money for a parcel; the last one releases what is left of the hold.

    Goods leave only after this has answered 200: the hold may have lapsed.
    """
    parcel, number = await request.json(), request.match_info
    result = await request.app[CLIENT].capture(
        f"order-{number['number']}",
        # A parcel that is scanned twice is paid once: its number is the capture's id.
        capture=f"parcel-{number['parcel']}",
        amount=parcel["amount"],
        final=parcel.get("last", False),
    )
    return answer(result, 200 if result.outcome == "captured" else 409)


async def take_back(request: web.Request) -> web.Response:
    """Give the money for returned goods back; the number of the return is the refund's id."""
    returned, number = await request.json(), request.match_info
    result = await request.app[CLIENT].refund(
        f"order-{number['number']}",
        refund=f"return-{number['returned']}",
        amount=returned["amount"],
    )
    return answer(result, 200 if result.outcome == "refunded" else 409)


async def cancel(request: web.Request) -> web.Response:
    """Undo an order's payment whole, or prevent one that has not been made yet."""
    result = await request.app[CLIENT].cancel(f"order-{request.match_info['number']}")
    return answer(result, 200 if result.outcome == "cancelled" else 409)


async def status(request: web.Request) -> web.Response:
    """Show what became of an order's payment."""
    result = await request.app[CLIENT].get(f"order-{request.match_info['number']}")
    return answer(result, 200 if result.state else 404)


def answer(result: Result, http_status: int) -> web.Response:
    """Return a result as the page needs it."""
    names = ("payment", "outcome", "reason", "state", "held", "captured", "refunded")
    return web.json_response({name: getattr(result, name) for name in names}, status=http_status)


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
    app.router.add_post("/orders/{number}/parcels/{parcel}", dispatch)
    app.router.add_post("/orders/{number}/returns/{returned}", take_back)
    app.router.add_post("/orders/{number}/cancel", cancel)
    return app


if __name__ == "__main__":
    web.run_app(shop(PaymentsClient()), host="127.0.0.1", port=8000)
