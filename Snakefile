import sys
from pathlib import Path

from snakemake.utils import min_version
from snakemake_interface_executor_plugins.settings import SharedFSUsage

min_version("9.0")

# Of this file, also where it is a module of another workflow.
BASE = Path(str(workflow.current_basedir))
sys.path[:0] = [str(BASE / "src"), str(BASE / "workflow" / "lib")]

from local_run import (
    LocalRun,
    after_graph,
    before_graph,
    leave_garbage_until_graph,
    let_jobs_go,
    make_what_has_no_stamp,
)
from object_store import use_object_store
from pipeline import make_pipeline
from submission import Submission

leave_garbage_until_graph(workflow)
# The jobs of a sweep share their work in files, where they see each other's.
SHARES_FILES = SharedFSUsage.INPUT_OUTPUT in workflow.storage_settings.shared_fs_usage
PIPELINE = make_pipeline(BASE, config, SHARES_FILES)
PIPELINE.use_this_source()
LOCAL_RUN = LocalRun(PIPELINE.threads)
before_graph(workflow, PIPELINE.ask_for_stamps)
before_graph(workflow, LOCAL_RUN.start)
after_graph(workflow, make_what_has_no_stamp)
after_graph(workflow, lambda workflow: use_object_store(workflow, PIPELINE.report))
# Snakemake has a number of jobs where it submits them, and of cores only where it runs them here.
IS_SUBMITTED = workflow.resource_settings.nodes is not None
SUBMISSION = Submission(PIPELINE, in_groups=IS_SUBMITTED and SHARES_FILES)


pathvars:
    store=f"{PIPELINE.results}/store",
    logs=f"{PIPELINE.results}/logs",


include: "workflow/rules/store.smk"
include: "workflow/rules/publish.smk"


rule all:
    default_target: True
    input:
        PIPELINE.targets,
    localrule: True


onstart:
    let_jobs_go(workflow)


onsuccess:
    LOCAL_RUN.stop()
    PIPELINE.print_outcome(workflow)


onerror:
    LOCAL_RUN.stop()
