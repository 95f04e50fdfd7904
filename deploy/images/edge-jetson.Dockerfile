# syntax=docker/dockerfile:1
# The edge on a Jetson (L4T, JetPack 6: CUDA, cuDNN and TensorRT are in the base). Untried: no such board was at hand.
# BASE is the L4T JetPack runtime image of your registry; ONNXRUNTIME_WHEEL is the onnxruntime-gpu wheel built for that JetPack.
ARG BASE

FROM ${BASE} AS build
RUN --mount=type=bind,target=/src /src/deploy/images/steps system edge-jetson build
ARG ONNXRUNTIME_WHEEL
RUN --mount=type=bind,target=/src PYTHON=python3.11 /src/deploy/images/steps install edge-jetson /opt/curbwatch && \
    /src/deploy/images/steps slim /opt/curbwatch && PYTHON=python3.11 /src/deploy/images/steps sbom edge-jetson /opt/curbwatch && \
    /src/deploy/images/steps check edge-jetson /opt/curbwatch

FROM ${BASE}
RUN --mount=type=bind,target=/src /src/deploy/images/steps system edge-jetson run
COPY --from=build /opt/curbwatch /opt/curbwatch
ENV PATH=/opt/curbwatch/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 OMP_NUM_THREADS=1 \
    NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=all
USER 10001:10001
VOLUME ["/var/lib/curbwatch"]
# No EXPOSE: the box opens connections, and takes none.
HEALTHCHECK --interval=30s --timeout=10s --start-period=120s CMD ["curbwatch", "edge", "health", "/etc/curbwatch/box.yaml"]
ENTRYPOINT ["/usr/bin/tini", "--", "curbwatch", "edge"]
CMD ["run", "/etc/curbwatch/box.yaml"]
