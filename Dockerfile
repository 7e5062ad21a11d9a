# The two commands of the README in a container. For Docker or Podman, neither of which ran where this was written: there its
# lines were run in an empty Debian, python tests/container/run.py FOLDER (docs/versions.md).
#
#   docker build -t litefocus .                  # --build-arg TORCH='torch>=2.13' for another build of torch
#   docker run --rm -v "$PWD/runs:/litefocus/runs" litefocus
#   docker run --rm litefocus make test
FROM python:3.11-slim
# git: records name the commit that they were made with.
RUN apt-get update && apt-get install -y --no-install-recommends git make && rm -rf /var/lib/apt/lists/*
WORKDIR /litefocus
ARG TORCH=torch==2.13.0
# The environment is a layer of its own, which a change of the code leaves alone.
COPY Makefile pyproject.toml constraints.txt README.md LICENSE ./
COPY litefocus/__init__.py litefocus/
RUN PIP_NO_CACHE_DIR=1 make .venv/.installed-dev TORCH="$TORCH"
COPY . .
# Copied files are newer than the environment that make would compare them with.
RUN touch .venv/.installed .venv/.installed-dev
CMD ["make", "demo"]
