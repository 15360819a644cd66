# syntax=docker/dockerfile:1
# The etcd of Debian, with which the tests run:
# docker build -f deploy/docker/etcd.Dockerfile -t gossipcontrol-etcd:3.4 .
FROM debian:bookworm-slim
# Debian's own updates decide about the version.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends etcd-server etcd-client \
    && rm -rf /var/lib/apt/lists/* /var/lib/etcd \
    && useradd --system --uid 7421 --no-create-home --shell /usr/sbin/nologin etcd-member \
    && install -d -o 7421 -g 7421 -m 0700 /var/lib/etcd
USER 7421:7421
VOLUME ["/var/lib/etcd"]
EXPOSE 2379 2380
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s \
    CMD ["env", "ETCDCTL_API=3", "etcdctl", "endpoint", "health"]
ENTRYPOINT ["etcd"]
