# syntax=docker/dockerfile:1
# Two targets: `backend` (no torch) and `worker`. Build: docker build --target backend -t gyrostat-backend .
FROM python:3.12-slim AS base
ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN useradd --create-home --uid 10001 gyrostat && mkdir /data && chown gyrostat /data
WORKDIR /srv/gyrostat
COPY pyproject.toml constraints.txt README.md ./
COPY gyrostat ./gyrostat

FROM base AS backend
COPY app ./app
COPY migrations ./migrations
RUN pip install --constraint constraints.txt --editable '.[backend]'
USER gyrostat
ENV GYROSTAT_DATA=/data
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/healthz', timeout=2)"]
CMD ["python", "-m", "app", "serve", "--host", "0.0.0.0", "--port", "8000"]

FROM base AS worker
# The plain torch build brings CUDA on Linux; TORCH=torch==2.13.0+cpu takes the CPU build where the package index offers it.
ARG TORCH=torch==2.13.0
RUN pip install --constraint constraints.txt "${TORCH}"
COPY trainer ./trainer
RUN pip install --constraint constraints.txt --editable '.[worker]'
USER gyrostat
VOLUME /data
CMD ["python", "-m", "trainer.worker", "--server", "http://backend:8000", "--data", "/data"]
