# syntax=docker/dockerfile:1
# The edge on a server's NVIDIA GPU: CUDA, cuDNN and TensorRT under ONNX Runtime. Untried: no engine and no registry was at hand.
ARG BASE=nvidia/cuda:12.8.1-cudnn-runtime-ubuntu24.04

FROM ${BASE} AS build
RUN --mount=type=bind,target=/src /src/deploy/images/steps system edge-cuda build
RUN --mount=type=bind,target=/src /src/deploy/images/steps install edge-cuda /opt/curbwatch && \
    /src/deploy/images/steps slim /opt/curbwatch && /src/deploy/images/steps sbom edge-cuda /opt/curbwatch && \
    /src/deploy/images/steps check edge-cuda /opt/curbwatch

FROM ${BASE}
RUN --mount=type=bind,target=/src /src/deploy/images/steps system edge-cuda run
COPY --from=build /opt/curbwatch /opt/curbwatch
ENV PATH=/opt/curbwatch/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 OMP_NUM_THREADS=1 \
    NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility,video
USER 10001:10001
VOLUME ["/var/lib/curbwatch"]
# No EXPOSE: the box opens connections, and takes none.
HEALTHCHECK --interval=30s --timeout=10s --start-period=120s CMD ["curbwatch", "edge", "health", "/etc/curbwatch/box.yaml"]
ENTRYPOINT ["/usr/bin/tini", "--", "curbwatch", "edge"]
CMD ["run", "/etc/curbwatch/box.yaml"]
