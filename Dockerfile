# fundus-diag on processors, without a GPU:
#
#     docker build -t fundus-diag .
#     docker run --rm -v "$PWD:/data" fundus-diag manifest check all.csv --image-root PICTURES
#     docker run --rm -v "$PWD:/data" -p 127.0.0.1:8501:8501 fundus-diag serve reports/mine --host 0.0.0.0
FROM python:3.11-slim

WORKDIR /source
COPY constraints.txt setup.cfg pyproject.toml README.md LICENSE train_two_phase.py ./
COPY data_manifests ./data_manifests
COPY fundus_diag ./fundus_diag
RUN python -m pip install --no-cache-dir --constraint constraints.txt '.[dicom,pretrained,serve]'

# Files that it writes into /data are this user's; give your own by `--user $(id -u):$(id -g)`.
RUN useradd --create-home --uid 1000 eye
USER eye
# Whoever it is run as can write there.
ENV HOME=/tmp MPLCONFIGDIR=/tmp/matplotlib
WORKDIR /data
ENTRYPOINT ["fundus-diag"]
CMD ["--help"]
