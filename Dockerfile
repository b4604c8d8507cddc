# Spendgate as one small process: non-root, one volume, no build tools in the final image.
FROM python:3.13-slim AS build
WORKDIR /src
COPY pyproject.toml requirements.lock README.md ./
RUN python -m venv /venv && /venv/bin/pip install --no-cache-dir --require-hashes -r requirements.lock
COPY pricing pricing
COPY rules rules
COPY proxy proxy
RUN /venv/bin/pip install --no-cache-dir --no-deps .

FROM python:3.13-slim
RUN useradd --uid 10001 --create-home --home-dir /var/lib/spendgate spendgate
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1
USER spendgate
WORKDIR /var/lib/spendgate
VOLUME /var/lib/spendgate
EXPOSE 4000 4001
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s \
  CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:4000/ready', timeout=2)"]
ENTRYPOINT ["spendgate"]
CMD ["serve", "-c", "/etc/spendgate/config.yaml"]
