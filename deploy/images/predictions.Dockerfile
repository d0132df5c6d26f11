# The prediction service alone: no Dagster, no MLflow, no torch. `make bento` and `bentoml containerize` build the same server.
#     docker build -f deploy/images/predictions.Dockerfile -t predictions .
#checkov:skip=CKV_DOCKER_2: Compose and Kubernetes check the health of each process by its own means
#checkov:skip=CKV_DOCKER_7: PYTHON has a tag, or a digest
ARG PYTHON=python:3.11-slim-bookworm
FROM ${PYTHON} AS build
RUN pip install --no-cache-dir uv && uv venv /venv
COPY deploy/requirements.txt /requirements.txt
RUN uv pip install --python /venv/bin/python --no-cache --compile-bytecode -r /requirements.txt

FROM ${PYTHON}
# As platform.Dockerfile.
RUN useradd --uid 1034 --create-home --shell /usr/sbin/nologin mlops && install --directory --owner=mlops --group=mlops /mlops
COPY --from=build /venv /venv
WORKDIR /app
COPY pyproject.toml ./
COPY deploy deploy
COPY mlops_assets mlops_assets
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 MLOPS_ENV=production MLOPS_HOME=/mlops BENTOML_DO_NOT_TRACK=True POLARS_MAX_THREADS=1
USER 1034:1034
EXPOSE 3000
CMD ["bentoml", "serve", "deploy.service:Predictions", "--host", "0.0.0.0", "--port", "3000"]
