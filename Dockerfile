# The archive with its embedded database: everything it keeps is in the volume /data.
#   docker build -t dicomweb .
#   docker run -p 127.0.0.1:8080:8080 -p 127.0.0.1:11112:11112 -v dicomweb:/data dicomweb \
#     serve --host 0.0.0.0 --insecure-no-auth --dimse-any-calling-ae
# --insecure-no-auth and --dimse-any-calling-ae are right as long as the ports are published on 127.0.0.1 only, as here
# and in compose.yaml; without the second one only the peers of /api/peers may call.
FROM python:3.12-slim AS build
WORKDIR /source
COPY . .
RUN python -m venv /opt/dicomweb \
 && /opt/dicomweb/bin/pip install --no-cache-dir --disable-pip-version-check --constraint constraints.txt .

FROM python:3.12-slim
RUN useradd --uid 10001 --user-group --create-home dicomweb \
 && install --directory --owner=dicomweb --group=dicomweb --mode=0700 /data
COPY --from=build /opt/dicomweb /opt/dicomweb
ENV PATH="/opt/dicomweb/bin:$PATH" DICOMWEB_DATA_DIR=/data PYTHONUNBUFFERED=1
USER dicomweb
WORKDIR /data
VOLUME /data
EXPOSE 8080 11112
HEALTHCHECK --interval=10s --timeout=6s --start-period=60s --retries=3 CMD ["python", "-c", \
  "import urllib.request as r; r.urlopen('http://127.0.0.1:8080/health/ready', timeout=5)"]
ENTRYPOINT ["dicomweb"]
CMD ["serve"]
