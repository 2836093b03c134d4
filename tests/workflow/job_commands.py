"""The commands of a pipeline's jobs, as the rules ask for them."""

import shlex
from types import SimpleNamespace


def jobs(pipeline, step):
    return [file for file in pipeline._files.values() if file.step == step]


def wildcards(file):
    return SimpleNamespace(job=file.job)


def runtime(pipeline, file, **files):
    return shlex.split(pipeline.runtime(wildcards(file), files, {}, threads=3))


def option(words, name):
    return words[words.index(name) + 1]
