# syntax=docker/dockerfile:1
# The centre: API and console, one replica. `deploy/images/build api` gives BASE with its digest.
ARG BASE=debian:bookworm-slim

FROM ${BASE} AS build
RUN --mount=type=bind,target=/src /src/deploy/images/steps system api build
RUN --mount=type=bind,target=/src /src/deploy/images/steps install api /opt/curbwatch && \
    /src/deploy/images/steps slim /opt/curbwatch && /src/deploy/images/steps sbom api /opt/curbwatch && \
    /src/deploy/images/steps check api /opt/curbwatch

FROM ${BASE}
RUN --mount=type=bind,target=/src /src/deploy/images/steps system api run
COPY --from=build /opt/curbwatch /opt/curbwatch
ENV PATH=/opt/curbwatch/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 10001:10001
VOLUME ["/var/lib/curbwatch"]
EXPOSE 8080
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s \
    CMD ["python3", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8080/readyz', timeout=4)"]
ENTRYPOINT ["/usr/bin/tini", "--", "curbwatch", "api"]
CMD ["run", "--data", "/var/lib/curbwatch", "--host", "0.0.0.0"]
