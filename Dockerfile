FROM python:3.13-slim

# A user with a name: the embedded PostgreSQL asks for one. All that it owns is the data. Its number is
# fixed, as Kubernetes wants to know that it is not root's.
RUN useradd --uid 10001 --create-home --home-dir /var/lib/marconi --shell /usr/sbin/nologin marconi

COPY . /usr/src/marconi
# No file is installed that was changed since requirements.txt was made. Marconi itself is not fetched.
RUN pip install --no-cache-dir --require-hashes --requirement /usr/src/marconi/requirements.txt \
    && pip install --no-cache-dir --no-index --no-deps --no-build-isolation /usr/src/marconi \
    && rm -r /usr/src/marconi

# Where the embedded PostgreSQL keeps its data, unless MARCONI_DATABASE_URL names another.
RUN install --directory --owner=marconi --group=marconi --mode=0700 /var/lib/marconi/data
# Nobody gets in without a token: docker exec CONTAINER marconi token create --project P --role R
ENV MARCONI_DATA_DIR=/var/lib/marconi/data HOST=0.0.0.0 PORT=8888 MARCONI_ACCESS=token
VOLUME /var/lib/marconi/data

USER marconi
WORKDIR /var/lib/marconi
EXPOSE 8888
HEALTHCHECK --start-period=30s CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen(f'http://127.0.0.1:{os.environ[\"PORT\"]}/v1/health', timeout=3)"]
STOPSIGNAL SIGTERM
CMD ["marconi", "serve"]
