# What lies in the store, each file named by what makes it: a file that is there is never out of date.
# `job` is its path below the store; of it the pipeline knows the command and the inputs.
COMMAND = (
    "python -m advdetect {params.command} {params.runtime} --timing {log.timing:q}"
    " 2>&1 | tee {log.messages:q}"
)


# It needs the network, perhaps, which the nodes of a cluster may not have.
localrules:
    prepare_data,


rule prepare_data:
    input:
        unpack(PIPELINE.inputs),
    output:
        output="<store>/{job}.safetensors",
    log:
        messages="<logs>/{job}.log",
        timing="<logs>/{job}.json",
    wildcard_constraints:
        job=r"[^/]+/(train|(test|unused)\.[^/]+)",
    conda:
        "../../envs/advdetect.yaml"
    threads: PIPELINE.reading_threads
    resources:
        mem_mb=PIPELINE.megabytes,
        runtime=60,
    params:
        command=PIPELINE.command,
        runtime=PIPELINE.runtime,
    shell:
        COMMAND


use rule prepare_data as train with:
    output:
        output="<store>/{job}.safetensors",
        history="<store>/{job}.json",
    wildcard_constraints:
        job="[^/]+/[^/]+/model",
    group:
        SUBMISSION.group
    threads: PIPELINE.threads
    resources:
        gpu=PIPELINE.gpu,
        gres=SUBMISSION.gres,
        mem_mb=PIPELINE.megabytes,
        runtime=240,


use rule train as classify with:
    output:
        output="<store>/{job}.safetensors",
    wildcard_constraints:
        job=r"[^/]+/[^/]+/clean\.[^/]+",


use rule classify as attack with:
    wildcard_constraints:
        job="[^/]+/[^/]+/attacks/[^/]+",


use rule classify as certify with:
    wildcard_constraints:
        job="[^/]+/[^/]+/(certificates|attacked)/[^/]+",


use rule classify as fit_feature with:
    wildcard_constraints:
        job="[^/]+/[^/]+/fitted/[^/]+",


use rule classify as feature with:
    output:
        output="<store>/{job}.parquet",
    wildcard_constraints:
        job="[^/]+/[^/]+/features/[^/]+/[^/]+",


use rule feature as defend with:
    wildcard_constraints:
        job="[^/]+/[^/]+/defenses/[^/]+",


use rule classify as sensitivity with:
    wildcard_constraints:
        job="[^/]+/[^/]+/sensitivity/[^/]+",


use rule feature as eigenvalue_path with:
    wildcard_constraints:
        job="[^/]+/[^/]+/paths/[^/]+",


use rule feature as units with:
    wildcard_constraints:
        job=r"[^/]+/[^/]+/units\.[^/]+",


# One job per seed and feature: a fit takes milliseconds, a job's start-up more.
use rule prepare_data as fit_detectors with:
    output:
        output="<store>/{job}/fitted.parquet",
        split="<store>/{job}/split.parquet",
        thresholds="<store>/{job}/thresholds.parquet",
    wildcard_constraints:
        job="[^/]+/[^/]+/detectors/[^/]+",
    group:
        SUBMISSION.group
    threads: 1


use rule fit_detectors as score with:
    output:
        output="<store>/{job}.parquet",
    wildcard_constraints:
        job="[^/]+/[^/]+/scores/[^/]+",
