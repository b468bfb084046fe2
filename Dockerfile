# The program with its locked dependencies; runs as an ordinary user.
FROM python:3.12.12-slim-bookworm AS build
WORKDIR /src
COPY requirements.lock ./
RUN python -m venv /opt/tidewatch && /opt/tidewatch/bin/pip install --no-cache-dir --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY detectors detectors
COPY sinks sinks
COPY streams streams
RUN /opt/tidewatch/bin/pip install --no-cache-dir --no-deps .

FROM python:3.12.12-slim-bookworm
RUN useradd --create-home --uid 10001 tidewatch
COPY --from=build /opt/tidewatch /opt/tidewatch
ENV PATH=/opt/tidewatch/bin:$PATH PYTHONUNBUFFERED=1
USER tidewatch
WORKDIR /home/tidewatch
ENTRYPOINT ["tidewatch"]
CMD ["--help"]
