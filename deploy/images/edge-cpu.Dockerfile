# syntax=docker/dockerfile:1
# The edge on a CPU, with ONNX Runtime and OpenVINO. `deploy/images/build edge-cpu` gives BASE with its digest.
ARG BASE=debian:bookworm-slim

FROM ${BASE} AS build
RUN --mount=type=bind,target=/src /src/deploy/images/steps system edge-cpu build
RUN --mount=type=bind,target=/src /src/deploy/images/steps install edge-cpu /opt/curbwatch && \
    /src/deploy/images/steps slim /opt/curbwatch && /src/deploy/images/steps sbom edge-cpu /opt/curbwatch && \
    /src/deploy/images/steps check edge-cpu /opt/curbwatch

FROM ${BASE}
RUN --mount=type=bind,target=/src /src/deploy/images/steps system edge-cpu run
COPY --from=build /opt/curbwatch /opt/curbwatch
ENV PATH=/opt/curbwatch/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 OMP_NUM_THREADS=1
USER 10001:10001
VOLUME ["/var/lib/curbwatch"]
# No EXPOSE: the box opens connections, and takes none.
HEALTHCHECK --interval=30s --timeout=10s --start-period=120s CMD ["curbwatch", "edge", "health", "/etc/curbwatch/box.yaml"]
ENTRYPOINT ["/usr/bin/tini", "--", "curbwatch", "edge"]
CMD ["run", "/etc/curbwatch/box.yaml"]
