FROM python:3.13-slim-bookworm AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_PYTHON=/opt/venv
WORKDIR /src
RUN python -m venv --without-pip /opt/venv
COPY requirements.lock .
RUN pip install --require-hashes --requirement requirements.lock
COPY . .
RUN pip install --no-deps --no-build-isolation . && pip uninstall --yes hatchling

FROM python:3.13-slim-bookworm
RUN groupadd --gid 10001 modelyard \
    && useradd --uid 10001 --gid 10001 --no-create-home --no-log-init modelyard \
    && install --directory --owner=modelyard --group=modelyard /data
COPY --from=build /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HOST=0.0.0.0 \
    DATABASE_URL=sqlite:////data/modelyard.db \
    MODEL_STORAGE_PATH=/data/artifacts
WORKDIR /data
USER 10001:10001
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["python", "-c", "from os import environ as e; from urllib.request import urlopen; urlopen(f'http://127.0.0.1:{e.get(\"PORT\", 8000)}/health/live', timeout=4)"]
ENTRYPOINT ["modelyard-server"]
CMD ["serve"]
