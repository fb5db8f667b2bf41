# The Python that the tests run on.
ARG PYTHON=3.11-slim-bookworm

FROM python:${PYTHON} AS build
WORKDIR /build
# What is locked changes seldom: these layers are built again only when it does.
COPY requirements/runtime.lock requirements/build.lock requirements/
RUN python -m venv --without-pip /opt/repoint \
    && pip --python /opt/repoint/bin/python install --no-cache-dir --require-hashes --only-binary :all: -r requirements/runtime.lock \
    && pip install --no-cache-dir --require-hashes --only-binary :all: -r requirements/build.lock
COPY . .
RUN pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir dist . \
    && pip --python /opt/repoint/bin/python install --no-cache-dir --no-deps --no-index dist/*.whl

FROM python:${PYTHON}
RUN useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin repoint
COPY --from=build /opt/repoint /opt/repoint
ENV PATH=/opt/repoint/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    REPOINT_ENVIRONMENT=production \
    REPOINT_LOG_FORMAT=json \
    REPOINT_HTTP_HOST=0.0.0.0 \
    REPOINT_HTTP_PORT=9464 \
    REPOINT_API_HOST=0.0.0.0
USER 10001
WORKDIR /tmp
EXPOSE 9464 8080
# Alive, not ready: a worker that waits for a database that is away must not be ended for it.
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen(f'http://127.0.0.1:{os.environ[\"REPOINT_HTTP_PORT\"]}/livez', timeout=2)"]
ENTRYPOINT ["repoint"]
CMD ["run"]
