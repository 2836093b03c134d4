# What the jobs of a Kubernetes cluster run in: the locked versions. Their source comes with each job.
#   docker build -t registry.example.org/advdetect:0.1.0 .
#   docker push registry.example.org/advdetect:0.1.0
FROM python:3.11-slim
WORKDIR /advdetect
COPY pyproject.toml README.md LICENSE ./
COPY envs/requirements.lock envs/
COPY src src
RUN pip install --no-cache-dir -e '.[s3]' -c envs/requirements.lock
