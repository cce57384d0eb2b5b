# vdv in a container; how to build and to run it: docs/installation.md.
#   docker build -t vdv:cpu .
#   docker build --build-arg TORCH=cuda -t vdv:cuda .
ARG PYTHON=python:3.11-slim-bookworm
ARG TORCH=cpu

FROM ${PYTHON} AS venv
ENV PIP_CACHE_DIR=/var/cache/pip
WORKDIR /vdv
RUN python3 -m venv .venv
COPY constraints.txt requirements-openmmlab.txt ./

FROM venv AS torch-cuda
# The torch that the last step takes from PyPI brings CUDA's libraries.

FROM venv AS torch-cpu
RUN --mount=type=cache,target=/var/cache/pip \
    .venv/bin/pip install --no-deps -c constraints.txt --index-url https://download.pytorch.org/whl/cpu torch torchvision

# hadolint ignore=DL3006
FROM torch-${TORCH} AS installed
WORKDIR /vdv
COPY setup.cfg pyproject.toml README.md LICENSE ./
COPY models models
COPY pipeline pipeline
COPY simulation simulation
COPY tasks tasks
RUN --mount=type=cache,target=/var/cache/pip \
    .venv/bin/pip install -c constraints.txt . && \
    .venv/bin/pip install --no-deps -r requirements-openmmlab.txt

FROM ${PYTHON}
COPY --from=installed /vdv/.venv /vdv/.venv
RUN useradd --create-home --uid 1000 vdv && \
    install --directory --owner vdv --group vdv /data /weights
# HOME and USER: with `docker run --user`, it may be a user that the image does not know.
ENV PATH=/vdv/.venv/bin:$PATH PYTHONUNBUFFERED=1 HOME=/tmp USER=vdv VDV_WEIGHTS=/weights
USER 1000
WORKDIR /data
VOLUME ["/data", "/weights"]
ENTRYPOINT ["luigi", "--module", "tasks"]
CMD ["BuildVDV"]
