# Image of the daemon: one binary, a user without rights, nothing to be written but the warehouse.
#
#   docker build -t walbrook .
#   docker run --read-only --cap-drop ALL --security-opt no-new-privileges \
#     -v ./walbrook.toml:/etc/walbrook/walbrook.toml:ro -v ./password:/run/secrets/walbrook/password:ro \
#     -v warehouse:/var/lib/walbrook -p 127.0.0.1:9187:9187 walbrook
#
# - The user is 65532: the password file is his, mode 400, and so is the warehouse.
# - For probes and metrics from outside, the file says [http] listen = "0.0.0.0:9187" and allow_remote = true.
# - SIGTERM drains for pipeline.grace_period, 25 s: `docker stop --time 30` waits longer, as Kubernetes does by default.

FROM rust:1.95.0-slim-trixie AS build
WORKDIR /build
# librdkafka is built from source; its TLS is OpenSSL, its gzip zlib.
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ libssl-dev make pkg-config zlib1g-dev \
    && rm -rf /var/lib/apt/lists/*
COPY . .
# Downloads and compiled crates stay in caches of the builder, not in the image.
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/build/target \
    cargo build --locked --release --bin walbrook \
    && install -m 755 target/release/walbrook /usr/local/bin/walbrook

FROM debian:trixie-slim
LABEL org.opencontainers.image.title="walbrook" \
      org.opencontainers.image.description="Change data capture: PostgreSQL into Kafka and Iceberg tables" \
      org.opencontainers.image.licenses="Apache-2.0"
# What librdkafka is linked with.
RUN apt-get update \
    && apt-get install -y --no-install-recommends libssl3t64 zlib1g \
    && rm -rf /var/lib/apt/lists/* \
    && install -d -m 750 -o 65532 -g 65532 /var/lib/walbrook
COPY LICENSE /usr/share/doc/walbrook/LICENSE
# The authorities that verify-full trusts where the configuration names none.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /usr/local/bin/walbrook /usr/local/bin/walbrook
USER 65532:65532
# Relative paths of the configuration begin here.
WORKDIR /var/lib/walbrook
VOLUME /var/lib/walbrook
EXPOSE 9187
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/walbrook"]
CMD ["run", "/etc/walbrook/walbrook.toml"]
