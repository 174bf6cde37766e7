"""The OpenAPI 3.1 document of the gateway: operations, schemas and examples."""

from payments.gateway.openapi.document import document

__all__ = ["document"]
