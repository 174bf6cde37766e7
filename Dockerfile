# The image of a worker, which also holds `payments topics`. Build: docker build -t payments .

FROM python:3.11-slim AS build
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY requirements/ requirements/
RUN python -m venv /opt/payments \
    && /opt/payments/bin/pip install --no-cache-dir --no-deps --require-hashes -r requirements/runtime.txt
# What builds is pinned too and stays out of the image. To compile, mypy reads the types of the rest.
RUN python -m venv backend \
    && backend/bin/pip install --no-cache-dir --no-deps --require-hashes -r requirements/runtime.txt \
    && backend/bin/pip install --no-cache-dir --no-deps --require-hashes -r requirements/build.txt
COPY pyproject.toml setup.py README.md LICENSE ./
COPY exactstage/ exactstage/
COPY payments/ payments/
RUN PAYMENTS_COMPILED=1 backend/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir dist . \
    && /opt/payments/bin/pip install --no-cache-dir --no-deps --no-index dist/*.whl

FROM python:3.11-slim
RUN useradd --system --uid 10001 --no-create-home payments
COPY --from=build /opt/payments /opt/payments
WORKDIR /app
USER 10001
ENV PATH=/opt/payments/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# The exec form makes the worker process 1, so that SIGTERM reaches it and it drains.
ENTRYPOINT ["payments"]
CMD ["worker"]
