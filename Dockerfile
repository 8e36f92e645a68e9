# Two images from one file: `gateway`, and `peers` with the Prosody and the test telephone of docker-compose.yml.
FROM debian:12-slim AS base
RUN apt-get update \
 && apt-get install -y --no-install-recommends python3 libopus0 libspandsp2 \
 && rm -rf /var/lib/apt/lists/*

FROM base AS build
RUN apt-get update && apt-get install -y --no-install-recommends python3-venv
WORKDIR /src
# One environment builds, with every tool of the lock; the other runs, with what running needs of it.
COPY requirements.lock ./
RUN python3 -m venv /opt/build \
 && /opt/build/bin/pip install --no-cache-dir --require-hashes -r requirements.lock
COPY deploy/requirements.lock deploy/
RUN python3 -m venv /opt/gateway \
 && /opt/gateway/bin/pip install --no-cache-dir --require-hashes -r deploy/requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY gateway ./gateway
RUN /opt/build/bin/pip wheel --no-build-isolation --no-deps --wheel-dir /opt/wheel . \
 && /opt/gateway/bin/pip install --no-cache-dir --no-deps /opt/wheel/*.whl

FROM base AS gateway
RUN useradd --system --home-dir /var/lib/gateway --create-home gateway
COPY --from=build /opt/gateway /opt/gateway
USER gateway
WORKDIR /var/lib/gateway
ENTRYPOINT ["/opt/gateway/bin/gateway"]
CMD ["run", "--config", "/etc/gateway/gateway.toml"]

FROM debian:12-slim AS peers
RUN apt-get update \
 && apt-get install -y --no-install-recommends prosody baresip-core \
 && rm -rf /var/lib/apt/lists/*
USER prosody
