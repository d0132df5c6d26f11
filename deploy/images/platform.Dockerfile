# Web UI, daemon, code location, runs and MLflow; deploy/k8s starts each by its own command. From the root of the project:
#     docker build -f deploy/images/platform.Dockerfile -t platform .
# PYTHON by digest makes two builds the same. PIP_FIND_LINKS is a folder of wheels, such as that of torch's CPU build.
#checkov:skip=CKV_DOCKER_2: Compose and Kubernetes check the health of each process by its own means
#checkov:skip=CKV_DOCKER_7: PYTHON has a tag, or a digest
ARG PYTHON=python:3.11-slim-bookworm
FROM ${PYTHON} AS build
ARG PIP_FIND_LINKS=https://download.pytorch.org/whl/cpu/torch/
RUN pip install --no-cache-dir uv && uv venv /venv
WORKDIR /app
COPY pyproject.toml README.md LICENSE requirements.lock ./
RUN sed -E '/^(pytest|pyright|ruff|playwright|hypothesis|moto|schemathesis)/d' requirements.lock > constraints.txt \
    && uv pip install --python /venv/bin/python --no-cache --find-links "${PIP_FIND_LINKS}" --compile-bytecode \
       --constraint constraints.txt -r pyproject.toml --extra postgres --extra s3 --extra lightgbm --extra excel --extra stream
COPY mlops_assets mlops_assets
COPY feature_repo feature_repo
COPY deploy deploy
RUN uv pip install --python /venv/bin/python --no-cache --no-deps --editable .

FROM ${PYTHON}
# A new volume of Docker at /mlops belongs to whom the folder here belongs to.
RUN useradd --uid 1034 --create-home --shell /usr/sbin/nologin mlops && install --directory --owner=mlops --group=mlops /mlops
COPY --from=build /venv /venv
COPY --from=build /app /app
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1
WORKDIR /app
USER 1034:1034
CMD ["mlops", "--help"]
