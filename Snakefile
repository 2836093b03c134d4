import sys
from pathlib import Path

from snakemake.utils import min_version

min_version("9.0")

sys.path[:0] = [str(Path(workflow.basedir) / part) for part in ("src", "workflow/lib")]

from local_run import LocalRun
from pipeline import Pipeline

PIPELINE = Pipeline(Path(workflow.basedir), config)
PIPELINE.use_this_source()
LOCAL_RUN = LocalRun(PIPELINE.threads)


pathvars:
    results=PIPELINE.results,
    logs=f"{PIPELINE.results}/logs",
    run="<results>/{dataset}/{model}/seed{seed}",


wildcard_constraints:
    dataset="[^/]+",
    model="[^/]+",
    seed=r"\d+",
    attack="[^/]+",
    feature="[^/]+",
    defense="[^/]+",


include: "workflow/rules/data.smk"
include: "workflow/rules/model.smk"
include: "workflow/rules/attack.smk"
include: "workflow/rules/feature.smk"
include: "workflow/rules/sensitivity.smk"
include: "workflow/rules/detect.smk"
include: "workflow/rules/defend.smk"
include: "workflow/rules/publish.smk"
include: "workflow/rules/reproduce.smk"


localrules:
    all,
    prepare_data,
    tables,
    reproduce,
    figure,
    paper_figure,
    report,


rule all:
    default_target: True
    input:
        "<results>/report.html",
        collect(
            "<results>/tables/{table}.md",
            table=PIPELINE.tables + PIPELINE.reproductions,
        ),


onstart:
    LOCAL_RUN.start(workflow)


onsuccess:
    LOCAL_RUN.stop()
    PIPELINE.print_outcome()


onerror:
    LOCAL_RUN.stop()
