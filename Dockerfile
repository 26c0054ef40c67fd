# The archive with its embedded database: everything it keeps is in the volume /data.
#   docker build -t dicomweb .
#   docker run -p 127.0.0.1:8080:8080 -p 127.0.0.1:11112:11112 -v dicomweb:/data dicomweb \
#     serve --host 0.0.0.0 --insecure-no-auth --dimse-any-calling-ae
# --insecure-no-auth and --dimse-any-calling-ae are right as long as the ports are published on 127.0.0.1 only, as here
# and in compose.yaml; without the second one only the peers of /api/peers may call.
# It answers to http://localhost:8080 and to addresses; for a name say --allowed-hosts pacs.hospital.example, too (or set
# DICOMWEB_ALLOWED_HOSTS), such as that of a service by which other containers call it.
# The viewer is fetched with npm while the image is built, and lies in it outside the volume.
FROM node:22-slim AS node

FROM python:3.12-slim AS build
WORKDIR /source
COPY . .
RUN python -m venv /opt/dicomweb \
 && /opt/dicomweb/bin/pip install --no-cache-dir --disable-pip-version-check --constraint constraints.txt .
COPY --from=node /usr/local/bin/node /usr/local/bin/node
COPY --from=node /usr/local/lib/node_modules/npm /usr/local/lib/node_modules/npm
RUN ln -s ../lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm \
 && /opt/dicomweb/bin/dicomweb viewer install --viewer-dir /opt/viewer

FROM python:3.12-slim
RUN useradd --uid 10001 --user-group --create-home dicomweb \
 && install --directory --owner=dicomweb --group=dicomweb --mode=0700 /data
COPY --from=build /opt/dicomweb /opt/dicomweb
COPY --from=build /opt/viewer /opt/viewer
ENV PATH="/opt/dicomweb/bin:$PATH" DICOMWEB_DATA_DIR=/data DICOMWEB_VIEWER_DIR=/opt/viewer PYTHONUNBUFFERED=1
USER dicomweb
WORKDIR /data
VOLUME /data
EXPOSE 8080 11112
HEALTHCHECK --interval=10s --timeout=6s --start-period=60s --retries=3 CMD ["python", "-c", \
  "import urllib.request as r; r.urlopen('http://127.0.0.1:8080/health/ready', timeout=5)"]
ENTRYPOINT ["dicomweb"]
CMD ["serve"]
