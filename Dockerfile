# The image of a worker, which also holds `payments topics`. Build: docker build -t payments .

FROM python:3.11-slim AS build
WORKDIR /build
COPY requirements/ requirements/
RUN python -m venv /opt/payments \
    && /opt/payments/bin/pip install --no-cache-dir --require-hashes -r requirements/runtime.txt
# The build backend is pinned too and stays out of the image.
RUN python -m venv backend \
    && backend/bin/pip install --no-cache-dir --require-hashes -r requirements/build.txt
COPY pyproject.toml README.md LICENSE ./
COPY payments/ payments/
RUN backend/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir dist . \
    && /opt/payments/bin/pip install --no-cache-dir --no-deps --no-index dist/*.whl

FROM python:3.11-slim
RUN useradd --system --uid 10001 --no-create-home payments
COPY --from=build /opt/payments /opt/payments
WORKDIR /app
COPY topics.yaml ./
USER 10001
ENV PATH=/opt/payments/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# The exec form makes the worker process 1, so that SIGTERM reaches it and it drains.
ENTRYPOINT ["payments"]
CMD ["worker"]
